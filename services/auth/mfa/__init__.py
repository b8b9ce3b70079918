"""Multi-factor authentication: enrolling, disabling and verifying second factors."""

"""The audit log of a service: who did what, to what, with which outcome, from where. Sealed each second."""

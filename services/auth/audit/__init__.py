"""The audit logs of all services, as one."""

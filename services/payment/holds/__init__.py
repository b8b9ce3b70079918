"""Holds: money set aside, to be taken or given back."""

"""Mails to users: rendered from templates, encrypted at rest, delivered by a job, erased after delivery."""

"""What production runs beside the services: the mesh's PKI, secrets, the containers' health check."""

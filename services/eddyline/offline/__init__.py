"""What runs beside the services: importing, the tour, the generated documents."""

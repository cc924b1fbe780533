"""HTTP: one request, its connection, its errors, and audio that is fetched by its address."""

"""`weft certs`: a certificate authority in a folder, for development and small meshes."""

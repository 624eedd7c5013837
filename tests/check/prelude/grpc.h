static weir_http_server *server;

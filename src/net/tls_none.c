/* SPDX-License-Identifier: MIT */
/* TLS where the library is built without it: nothing can be made, so there is nothing to use. */
#include <weir/tls.h>

#include "net/conn.h"

int weir_tls_new(const weir_tls_options *opt, weir_tls **ret)
{
	(void)opt;
	(void)ret;
	return -EOPNOTSUPP;
}

void weir_tls_free(weir_tls *t)
{
	(void)t;
}

int weir_tls_self_signed(const char *cert_file, const char *key_file)
{
	(void)cert_file;
	(void)key_file;
	return -EOPNOTSUPP;
}

int weir_tls_reload(const weir_ctx *ctx, weir_tls *t)
{
	(void)ctx;
	(void)t;
	return -EOPNOTSUPP;
}

int weir_tls_accept(const weir_ctx *ctx, weir_tls *t, weir_conn **io)
{
	(void)ctx;
	(void)t;
	(void)io;
	return -EOPNOTSUPP;
}

int weir_tls_connect(const weir_ctx *ctx, weir_tls *t, const char *name, weir_conn **io)
{
	(void)name;
	return weir_tls_accept(ctx, t, io);
}

void weir_tls_why(weir_tls *t, char *buf, size_t n)
{
	(void)t;
	if (n)
		*buf = 0;
}

const char *weir_conn_alpn(const weir_conn *c)
{
	(void)c;
	return NULL;
}

int weir_conn_tls_info(const weir_conn *c, weir_tls_info *ret)
{
	(void)c;
	(void)ret;
	return -ENOTCONN;
}

weir_conn *weir__conn_below(weir_conn *c)
{
	return c;
}

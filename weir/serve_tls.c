/* SPDX-License-Identifier: MIT */
/* TLS of `weir serve`: from its settings to what its listeners speak. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"
#include "base/log.h"

static bool wanted(const struct options *o)
{
	return o->tls_certs || o->tls_keys || o->tls_self_signed || o->tls_client_ca;
}

/* 0 or -EINVAL, after it said why. */
static int settings_fit(const struct options *o)
{
	const char *why = NULL;

	if (o->tls_certs != o->tls_keys)
		why = "each --tls-cert needs its --tls-key, in the same order";
	else if (o->tls_certs && o->tls_self_signed)
		why = "--tls-self-signed makes a certificate; it does not go with --tls-cert";
	else if (!o->tls_certs && !o->tls_self_signed)
		why = "--tls-client-ca needs --tls-cert and --tls-key, or --tls-self-signed";
	if (why)
		weir__log(WEIR__ERROR, "tls", "%s", why);
	return why ? -EINVAL : 0;
}

static int open_pairs(const struct options *o, const weir_tls_pair *pairs, size_t n, weir_tls **ret)
{
	weir_tls_options opt = { .server = true,
		                 .pairs = pairs,
		                 .pairs_n = n,
		                 .ca = o->tls_client_ca,
		                 .alpn = weir_http_protocols() };
	int r = weir_tls_new(&opt, ret);

	if (r == -EOPNOTSUPP)
		weir__log(WEIR__ERROR, "tls", "weir was built without TLS");
	return r;
}

static int open_self_signed(const struct options *o, weir_tls **ret)
{
	char *cert = datadir_file(o->data, "tls.crt"), *key = datadir_file(o->data, "tls.key");
	weir_tls_pair pair = { cert, key };
	int r = cert && key ? weir_tls_self_signed(cert, key) : -ENOMEM;

	if (r == 0)
		weir__log(WEIR__INFO, "tls",
		          "the certificate for localhost vouches for itself; clients trust it with "
		          "--ca %s",
		          cert);
	if (r == 0 || r == -EOPNOTSUPP)
		r = open_pairs(o, &pair, 1, ret);
	free(cert);
	free(key);
	return r;
}

int serve_tls_open(const struct options *o, weir_tls **ret)
{
	weir_tls_pair pairs[TLS_PAIRS_MAX];
	int r;

	*ret = NULL;
	if (!wanted(o))
		return 0;
	r = settings_fit(o);
	if (r < 0)
		return r;
	if (o->tls_self_signed)
		return open_self_signed(o, ret);
	for (size_t i = 0; i < o->tls_certs; i++)
		pairs[i] = (weir_tls_pair){ o->tls_cert[i], o->tls_key[i] };
	return open_pairs(o, pairs, o->tls_certs, ret);
}

void serve_tls_reload(const weir_ctx *ctx, weir_tls *t)
{
	int r = weir_tls_reload(ctx, t);

	if (r == 0)
		weir__log(WEIR__INFO, "tls", "the certificates were read again");
	else
		weir__log(WEIR__ERROR, "tls",
		          "the certificates could not be read again, those in use stay: %s",
		          strerror(-r));
}

/* SPDX-License-Identifier: MIT */
#include "queue/url.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

_Static_assert((int)WEIR__RESOLVE_MAX <= (int)WEIR__COURIER_ADDRS, "all that a name has");

bool weir__url_parse(const char *text, struct weir__url *ret)
{
	bool tls = !strncasecmp(text, "https://", 8);
	const char *at = tls ? text + 8 : !strncasecmp(text, "http://", 7) ? text + 7 : NULL;
	const char *end, *host_end;
	long port = tls ? 443 : 80;
	size_t n;

	if (!at || strlen(text) > WEIR__URL_MAX)
		return false;
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f || *p == '\\' || *p == '#')
			return false;
	end = at + strcspn(at, "/?");
	if (memchr(at, '@', (size_t)(end - at)))
		return false;
	if (*at == '[') {
		host_end = memchr(at, ']', (size_t)(end - at));
		if (!host_end)
			return false;
		n = (size_t)(host_end++ - ++at);
	} else {
		host_end = memchr(at, ':', (size_t)(end - at));
		host_end = host_end ? host_end : end;
		n = (size_t)(host_end - at);
	}
	if (host_end < end) {
		char *rest;

		if (*host_end != ':' || host_end[1] < '0' || host_end[1] > '9')
			return false;
		port = strtol(host_end + 1, &rest, 10);
		if (rest != end)
			return false;
	}
	if (!n || n >= sizeof ret->host || port < 1 || port > 65535)
		return false;
	ret->tls = tls;
	memcpy(ret->host, at, n);
	ret->host[n] = 0;
	ret->port = (uint16_t)port;
	ret->rest = end;
	return true;
}

int weir__url_look_up(const weir_ctx *ctx, const char *host, uint16_t port,
                      struct weir__url_addrs *ret, struct weir__parcel *p)
{
	union weir__sockaddr at[WEIR__RESOLVE_MAX];
	socklen_t len[WEIR__RESOLVE_MAX];
	int n = weir__resolve(ctx, host, port, at, len);

	for (int i = 0; i < n; i++) {
		const void *raw = at[i].any.sa_family == AF_INET6 ?
		                          (const void *)&at[i].in6.sin6_addr :
		                          (const void *)&at[i].in.sin_addr;

		inet_ntop(at[i].any.sa_family, raw, ret->text[i], sizeof ret->text[i]);
		p->addrs[i] = ret->text[i];
	}
	return n < 0 ? n : 0;
}

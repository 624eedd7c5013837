/* SPDX-License-Identifier: MIT */
/*
 *	amqp[s]://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…][/VHOST][?OPTION&…]
 *
 * Each part may have bytes as %XX (RabbitMQ's URI specification); without a vhost it is "/", and
 * without a user "guest". Options: ca=FILE, cert=FILE, key=FILE (TLS), replicas=N, hold=DURATION.
 */
#include "queue/rabbit.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/units.h"

#define HOLD WEIR_SEC(25 * 60) /* the server's consumer_timeout is 30 minutes */
#define CA   "/etc/ssl/certs/ca-certificates.crt"

static int wrong(const char *what)
{
	weir__log(WEIR__ERROR, "queue",
	          "the URL of RabbitMQ is amqp[s]://[USER:PASSWORD@]HOST[:PORT][,…][/VHOST][?…]: "
	          "%s",
	          what);
	return -EINVAL;
}

/* Its name is told unless it may be a piece of a password that has a '?' in it. */
static int wrong_option(const char *name, const char *what)
{
	bool plain = *name && !name[strspn(name, "abcdefghijklmnopqrstuvwxyz_-")];
	char text[128];

	snprintf(text, sizeof text, "%.32s %s", plain ? name : "an option", what);
	return wrong(text);
}

static int digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* In place. */
static int decode(char *text)
{
	char *to = text;

	for (const char *at = text; *at; at++) {
		if (*at != '%') {
			*to++ = *at;
			continue;
		}
		if (!isxdigit((unsigned char)at[1]) || !isxdigit((unsigned char)at[2]) ||
		    !strncmp(at, "%00", 3))
			return wrong("what is behind a % is no byte");
		*to++ = (char)(digit(at[1]) << 4 | digit(at[2]));
		at += 2;
	}
	*to = 0;
	return 0;
}

/* The text up to `end`, which becomes a 0, or all of it; what follows. */
static char *cut(char *text, char end)
{
	char *at = strchr(text, end);

	if (at)
		*at++ = 0;
	return at;
}

static int read_host(struct weir__rmq_url *u, char *text)
{
	char *port = NULL, *end;
	long n = u->tls ? 5671 : 5672;

	if (u->hosts == WEIR__RMQ_HOSTS)
		return wrong("too many hosts");
	if (*text == '[') {
		char *rest = cut(++text, ']');

		if (!rest || (*rest && *rest != ':'))
			return wrong("a host in brackets has no end");
		port = *rest ? rest + 1 : NULL;
	} else {
		port = cut(text, ':');
	}
	if (port) {
		n = strtol(port, &end, 10);
		if (*end || end == port || n < 1 || n > 65535)
			return wrong("that is no port");
	}
	u->host[u->hosts] = *text ? text : "localhost";
	u->port[u->hosts++] = (int)n;
	return decode(text);
}

static int read_option(struct weir__rmq_url *u, char *name)
{
	char *value = cut(name, '=');
	int64_t n = 0;
	int r;

	if (!value)
		return wrong_option(name, "has no value");
	r = decode(value);
	if (r < 0)
		return r;
	if (!strcmp(name, "ca")) {
		u->ca = value;
	} else if (!strcmp(name, "cert")) {
		u->cert = value;
	} else if (!strcmp(name, "key")) {
		u->key = value;
	} else if (!strcmp(name, "replicas")) {
		if (weir__parse_int(value, &n) < 0 || n < 1 || n > 7)
			return wrong("replicas are 1 to 7");
		u->replicas = (unsigned)n;
	} else if (!strcmp(name, "hold")) {
		if (weir__parse_duration(value, &n) < 0 || n < WEIR_SEC(60))
			return wrong("hold is a duration, a minute at least");
		u->hold_ns = n;
	} else {
		return wrong_option(name, "is none of its options: ca, cert, key, replicas, hold");
	}
	return 0;
}

int weir__rmq_url_read(struct weir__rmq_url *u, const char *url)
{
	char *at, *options, *vhost, *more;
	int r = 0;

	u->tls = !strncmp(url, "amqps:", 6);
	url += strcspn(url, ":");
	if (strncmp(url, "://", 3) != 0)
		return wrong("it has no //");
	u->text = at = strdup(url + 3);
	if (!at)
		return -ENOMEM;
	u->user = u->password = "guest";
	u->vhost = "/";
	u->ca = CA;
	u->hold_ns = HOLD;
	options = cut(at, '?');
	vhost = cut(at, '/');
	if (vhost && *vhost) {
		u->vhost = vhost;
		r = decode(vhost);
	}
	if (r == 0 && strchr(at, '@')) {
		char *user = at, *password;

		at = cut(at, '@');
		password = cut(user, ':');
		u->user = user;
		u->password = password ? password : "";
		r = decode(user);
		if (r == 0 && password)
			r = decode(password);
	}
	for (; r == 0 && at; at = more) {
		more = cut(at, ',');
		r = read_host(u, at);
	}
	for (; r == 0 && options && *options; options = more) {
		more = cut(options, '&');
		r = read_option(u, options);
	}
	if (r == 0 && !u->cert != !u->key)
		r = wrong("cert and key go together");
	if (r < 0)
		free(u->text);
	return r;
}

/* SPDX-License-Identifier: MIT */
/* The values of settings: read from text, checked, and written again. What is wrong is said in a
 * way that tells how to do it right. */
#include "settings.h"
#include "suggest.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "queue/remote.h"
#include "queue/url.h"

char *owned_copy(struct owned **owned, const char *text)
{
	size_t n = strlen(text) + 1;
	struct owned *o = malloc(sizeof *o + n);

	if (!o)
		return NULL;
	o->next = *owned;
	*owned = o;
	return memcpy(o + 1, text, n);
}

void owned_free(struct owned **owned)
{
	while (*owned) {
		struct owned *o = *owned;

		*owned = o->next;
		free(o);
	}
}

void problem(struct problems *p, const char *fmt, ...)
{
	va_list ap;

	if (++p->count > 20)
		return;
	weir__buf_str(&p->text, "weir: ");
	va_start(ap, fmt);
	weir__buf_vprintf(&p->text, fmt, ap);
	va_end(ap);
	weir__buf_byte(&p->text, '\n');
}

bool setting_of(const struct setting *s, const struct command *c)
{
	char word[32];

	snprintf(word, sizeof word, " %s ", c->name);
	return strstr(s->commands, word) != NULL;
}

void setting_env_name(const struct setting *s, char out[64])
{
	size_t n = 5;

	memcpy(out, "WEIR_", n);
	for (const char *p = s->name; *p && n < 63; p++)
		out[n++] = *p == '-' ? '_' : (char)(*p - 'a' + 'A');
	out[n] = 0;
}

/* ---- Texts with a form ---- */

bool setting_check_header(const char *text, const char **ret_why)
{
	size_t n = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p; p++, n++)
		if (*p < 0x20 || *p == 0x7f) {
			*ret_why = "holds a control character";
			return false;
		}
	if (!n || n > 255 || text[0] == ' ' || text[n - 1] == ' ') {
		*ret_why = !n      ? "is empty" :
		           n > 255 ? "is longer than 255 bytes" :
		                     "begins or ends with a space";
		return false;
	}
	return true;
}

bool setting_check_key(const char *text, const char **ret_why)
{
	return setting_check_header(text, ret_why);
}

static bool check_port(const char *text)
{
	int64_t n;

	return *text != '-' && weir__parse_int(text, &n) == 0 && n <= 65535;
}

bool setting_check_address(const char *text, const char **ret_why)
{
	const char *colon = strrchr(text, ':');
	char host[64];
	size_t n;
	unsigned char raw[16];

	*ret_why = "is not an address; write 127.0.0.1:8080, [::1]:8080, localhost:8080, :8080 for "
		   "all interfaces, or "
		   "unix:PATH";
	if (!strncmp(text, "unix:", 5))
		return text[5] != 0;
	if (!colon)
		return false;
	if (!check_port(colon + 1)) {
		if (colon[1] && strspn(colon + 1, "0123456789") == strlen(colon + 1))
			*ret_why = "has a port beyond 65535";
		return false;
	}
	n = (size_t)(colon - text);
	if (n >= sizeof host)
		return false;
	memcpy(host, text, n);
	host[n] = 0;
	if (!n || !strcmp(host, "localhost") || inet_pton(AF_INET, host, raw) == 1)
		return true;
	if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = 0;
		if (inet_pton(AF_INET6, host + 1, raw) == 1)
			return true;
	}
	*ret_why = "names a host; a server listens on an address of its machine: 127.0.0.1:8080, "
		   "[::1]:8080, :8080 for all, "
		   "or unix:PATH";
	return false;
}

bool setting_check_origin(const char *text, const char **ret_why)
{
	const char *host = !strncmp(text, "https://", 8) ? text + 8 :
	                   !strncmp(text, "http://", 7)  ? text + 7 :
	                                                   NULL;

	*ret_why = "is not an origin; write https://HOST or https://HOST:PORT, without a path";
	return host && *host && !strpbrk(host, "/?#@ *,");
}

bool setting_check_store(const char *text, const char **ret_why)
{
	*ret_why =
		"is neither sqlite nor mem nor the path of a file, with a / in it, nor the URL of "
		"an engine such as nats://HOST:4222";
	if (strstr(text, "://"))
		return weir__engine_row_of(text) != NULL;
	return !strcmp(text, "sqlite") || !strcmp(text, "mem") ||
	       (strchr(text, '/') && strncmp(text, "sqlite:", 7));
}

static bool is_cluster(const char *text)
{
	return !strncmp(text, "nats://", 7) || !strncmp(text, "tls://", 6);
}

bool setting_check_bus(const char *text, const char **ret_why)
{
	*ret_why = "is neither mem: nor a NATS cluster such as nats://HOST:4222,HOST:4222";
	return !strcmp(text, "mem:") || is_cluster(text);
}

bool setting_check_webhook(const char *text, const char **ret_why)
{
	struct weir__url url;

	*ret_why = "is not a URL such as https://HOST/PATH, without user and fragment";
	return weir__url_parse(text, &url);
}

bool setting_check_server(const char *text, const char **ret_why)
{
	const char *host;

	if (!strncmp(text, "unix:", 5) && text[5])
		return true;
	*ret_why = "is not the URL of a server; write http://HOST:PORT, https://HOST:PORT, "
		   "unix:PATH, grpc://HOST:PORT or nats://HOST:PORT";
	if (is_cluster(text))
		return strstr(text, "://")[3] != 0;
	if (strncmp(text, "http://", 7) && strncmp(text, "https://", 8) &&
	    strncmp(text, "grpc://", 7) && strncmp(text, "grpcs://", 8))
		return false;
	host = strstr(text, "://") + 3;
	return *host && !strpbrk(host, "?#@ ") && (!strchr(host, '/') || !strchr(host, '/')[1]);
}

/* ---- Reading ---- */

static void store_number(void *at, size_t size, int64_t n)
{
	if (size == 1)
		*(bool *)at = n != 0;
	else if (size == 4)
		*(int *)at = (int)n;
	else
		*(int64_t *)at = n;
}

static int64_t load_number(const void *at, size_t size, bool negative)
{
	if (size == 1)
		return *(const bool *)at;
	if (size == 4)
		return negative ? *(const int *)at : (int64_t) * (const unsigned *)at;
	return *(const int64_t *)at;
}

static void write_amount(const struct setting *s, int64_t n, struct weir__buf *out)
{
	char text[WEIR__UNITS_MAX];

	if (s->type == SET_DURATION)
		weir__buf_str(out, weir__format_duration(text, n));
	else if (s->type == SET_BYTES)
		weir__buf_str(out, weir__format_bytes(text, (uint64_t)n));
	else
		weir__buf_printf(out, "%lld", (long long)n);
}

static int out_of_bounds(const struct setting *s, const char *text, bool most,
                         struct weir__buf *why)
{
	weir__buf_printf(why, "\"%s\" is too %s; the %s is ", text, most ? "large" : "small",
	                 most ? "most" : "least");
	write_amount(s, most ? s->most : s->least, why);
	return -EINVAL;
}

static int store_amount(const struct setting *s, void *at, const char *text, struct weir__buf *why)
{
	static const char *const forms[] = {
		[SET_NUMBER] = "a whole number",
		[SET_DURATION] = "a duration; write it like 250ms, 30s, 5m or 1h",
		[SET_BYTES] = "a size; write it like 4096, 64KiB or 256MiB",
	};
	int64_t n = 0;
	uint64_t bytes = 0;
	size_t len = strlen(text);
	int r;

	switch (s->type) {
	case SET_DURATION:
		r = weir__parse_duration(text, &n);
		break;
	case SET_BYTES:
		r = weir__parse_bytes(text, &bytes);
		n = (int64_t)bytes;
		break;
	default:
		r = weir__parse_int(text, &n);
	}
	if (r == -ERANGE)
		return out_of_bounds(s, text, text[0] != '-', why);
	if (r < 0) {
		weir__buf_printf(why, "\"%s\" is not %s", text, forms[s->type]);
		if (s->type == SET_DURATION && len && strspn(text, "0123456789") == len)
			weir__buf_printf(why, "; did you mean \"%ss\"?", text);
		else if (s->type == SET_BYTES && len > 1 && strspn(text, "0123456789") == len - 1 &&
		         strchr("kKmMgGtT", text[len - 1]))
			weir__buf_printf(why, "; did you mean \"%.*s%ciB\"?", (int)len - 1, text,
			                 text[len - 1] & ~0x20);
		return -EINVAL;
	}
	if (n < s->least || n > s->most)
		return out_of_bounds(s, text, n > s->most, why);
	store_number(at, s->size, n);
	return 0;
}

static int store_rate(void *at, const char *text, struct weir__buf *why)
{
	int r = weir__parse_rate(text, at);

	if (r < 0)
		weir__buf_printf(
			why,
			r == -ERANGE ? "\"%s\" is too large a rate; the most is 1e9/s" :
			r == -EDOM   ? "\"%s\" would let no job run: pause the queue for that, "
				       "or leave the rate away for no limit" :
				       "\"%s\" is not a rate; write it like 10/s, 100/m or 5/h",
			text);
	return r < 0 ? -EINVAL : 0;
}

/* The index of text in "a|b|c", or -1; *ret_name is the entry of choices, not ended. */
static int choice(const char *choices, const char *text)
{
	size_t len = strlen(text), n;

	for (int i = 0;; i++, choices += n + 1) {
		n = strcspn(choices, "|");
		if (n == len && !memcmp(choices, text, n))
			return i;
		if (!choices[n])
			return -1;
	}
}

/* What is not among the choices, and which of them is near. */
static int no_choice(const char *choices, const char *text, struct weir__buf *why)
{
	struct suggest near = SUGGEST_INIT(text);
	char names[128], *save = NULL, *first;
	bool one = !strchr(choices, '|');

	weir__buf_printf(why, "\"%s\" is not %s", text, one ? "" : "one of ");
	for (const char *p = choices; *p; p++)
		if (*p == '|')
			weir__buf_str(why, ", ");
		else
			weir__buf_byte(why, *p);
	if (one)
		weir__buf_str(why, ", the only choice");
	snprintf(names, sizeof names, "%s", choices);
	first = strtok_r(names, "|", &save);
	for (char *name = first; name; name = strtok_r(NULL, "|", &save))
		suggest_offer(&near, name);
	if (near.best)
		weir__buf_printf(why, "; did you mean \"%s\"?", near.best);
	return -EINVAL;
}

static int store_switch(void *at, const char *text, struct weir__buf *why)
{
	static const char *const yes[] = { "yes", "on", "1", "True", "TRUE", "Yes" };
	static const char *const no[] = { "no", "off", "0", "False", "FALSE", "No" };

	if (!strcmp(text, "true") || !strcmp(text, "false")) {
		*(bool *)at = text[0] == 't';
		return 0;
	}
	weir__buf_printf(why, "\"%s\" is not true or false", text);
	for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
		if (!strcmp(text, yes[i]) || !strcmp(text, no[i]))
			weir__buf_printf(why, "; did you mean \"%s\"?",
			                 !strcmp(text, yes[i]) ? "true" : "false");
	return -EINVAL;
}

static int store_text(const struct setting *s, void *base, struct owned **owned, const char *text,
                      bool first, struct weir__buf *why)
{
	const char **at = (const char **)(void *)((char *)base + s->at);
	size_t *count = s->type == SET_LIST ? (size_t *)(void *)((char *)base + s->count_at) : NULL;
	const char *reason = NULL, *copy;

	if (!*text) {
		weir__buf_str(why, "it is empty");
		return -EINVAL;
	}
	if (s->check && !s->check(text, &reason)) {
		weir__buf_printf(why, "\"%s\" %s", text, reason);
		return -EINVAL;
	}
	if (count && first)
		*count = 0;
	if (count && *count == s->most_items) {
		weir__buf_printf(why, "there are more than %zu", s->most_items);
		return -EINVAL;
	}
	copy = owned_copy(owned, text);
	if (!copy) {
		weir__buf_str(why, "out of memory");
		return -EINVAL;
	}
	at[count ? (*count)++ : 0] = copy;
	return 0;
}

int setting_store(const struct setting *s, void *base, struct owned **owned, const char *text,
                  bool first, struct weir__buf *why)
{
	void *at = (char *)base + s->at;
	int n;

	switch (s->type) {
	case SET_SWITCH:
		return store_switch(at, text, why);
	case SET_NUMBER:
	case SET_DURATION:
	case SET_BYTES:
		return store_amount(s, at, text, why);
	case SET_RATE:
		return store_rate(at, text, why);
	case SET_CHOICE:
		n = choice(s->choices, text);
		if (n < 0)
			return no_choice(s->choices, text, why);
		store_number(at, s->size, n);
		return 0;
	case SET_WORD:
		if (choice(s->choices, text) < 0)
			return no_choice(s->choices, text, why);
		return store_text(s, base, owned, text, first, why);
	default:
		return store_text(s, base, owned, text, first, why);
	}
}

/* ---- Writing ---- */

void setting_format(const struct setting *s, const void *base, struct weir__buf *out)
{
	const void *at = (const char *)base + s->at;
	const char *const *texts = at;
	size_t n = s->type == SET_LIST ?
	                   *(const size_t *)(const void *)((const char *)base + s->count_at) :
	                   1;
	const char *p;

	switch (s->type) {
	case SET_SWITCH:
		weir__buf_str(out, *(const bool *)at ? "true" : "false");
		return;
	case SET_RATE:
		weir__buf_printf(out, "%g/s", *(const double *)at);
		return;
	case SET_CHOICE:
		p = s->choices;
		for (int64_t i = load_number(at, s->size, false); i > 0; i--)
			p += strcspn(p, "|") + 1;
		weir__buf_add(out, p, strcspn(p, "|"));
		return;
	case SET_NUMBER:
	case SET_DURATION:
	case SET_BYTES:
		write_amount(s, load_number(at, s->size, s->least < 0), out);
		return;
	default:
		for (size_t i = 0; i < n; i++)
			if (texts[i])
				weir__buf_printf(out, "%s%s", i ? ", " : "", texts[i]);
	}
}

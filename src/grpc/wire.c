/* SPDX-License-Identifier: MIT */
#include "grpc/wire.h"

#include <errno.h>
#include <string.h>

#include "base/base64.h"

static const struct {
	char unit;
	int64_t ns;
} units[] = { { 'n', 1 },          { 'u', 1000 },        { 'm', 1000000 },
	      { 'S', 1000000000 }, { 'M', 60000000000 }, { 'H', 3600000000000 } };

int weir__grpc_timeout_parse(const char *text, int64_t *ret_ns)
{
	int64_t v = 0;
	size_t n;

	for (n = 0; text[n] >= '0' && text[n] <= '9'; n++) {
		if (n == 8)
			return -EINVAL;
		v = v * 10 + (text[n] - '0');
	}
	if (n == 0 || !text[n] || text[n + 1])
		return -EINVAL;
	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		if (units[i].unit != text[n])
			continue;
		if (__builtin_mul_overflow(v, units[i].ns, &v))
			v = WEIR_NEVER;
		*ret_ns = v;
		return 0;
	}
	return -EINVAL;
}

void weir__grpc_timeout_format(char out[WEIR__GRPC_TIMEOUT_MAX], int64_t ns)
{
	char digits[8];
	size_t i = 0, n = 0;
	int64_t v;

	if (ns < 0)
		ns = 0;
	while (i + 1 < sizeof units / sizeof *units && ns / units[i].ns > 99999998)
		i++;
	v = ns / units[i].ns + (ns % units[i].ns != 0);
	do
		digits[n++] = (char)('0' + v % 10);
	while ((v /= 10) && n < sizeof digits);
	while (n)
		*out++ = digits[--n];
	*out++ = units[i].unit;
	*out = 0;
}

void weir__grpc_percent_encode(struct weir__buf *out, const char *text, size_t n)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c >= 0x20 && c <= 0x7e && c != '%') {
			weir__buf_byte(out, (char)c);
			continue;
		}
		weir__buf_byte(out, '%');
		weir__buf_byte(out, hex[c >> 4]);
		weir__buf_byte(out, hex[c & 15]);
	}
}

static int hex_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

void weir__grpc_percent_decode(struct weir__buf *out, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '%' && n - i > 2 && hex_of(text[i + 1]) >= 0 &&
		    hex_of(text[i + 2]) >= 0) {
			weir__buf_byte(out, (char)(hex_of(text[i + 1]) << 4 | hex_of(text[i + 2])));
			i += 2;
		} else {
			weir__buf_byte(out, text[i]);
		}
	}
}

void weir__grpc_bin_encode(struct weir__buf *out, const void *data, size_t n)
{
	size_t start = out->len;

	weir__base64_encode(out, data, n);
	while (!out->failed && out->len > start && out->data[out->len - 1] == '=')
		out->data[--out->len] = 0;
}

int weir__grpc_bin_decode(struct weir__buf *out, const char *text, size_t n)
{
	char last[4] = { '=', '=', '=', '=' };
	size_t whole, rest;
	int r;

	while (n && text[n - 1] == '=')
		n--;
	whole = n & ~(size_t)3;
	rest = n - whole;
	r = weir__base64_decode(out, text, whole);
	if (r < 0 || rest == 0)
		return r;
	if (rest == 1)
		return -EINVAL;
	memcpy(last, text + whole, rest);
	return weir__base64_decode(out, last, 4);
}

bool weir__grpc_is_bin(const char *name, size_t n)
{
	return n > 4 && memcmp(name + n - 4, "-bin", 4) == 0;
}

bool weir__grpc_reserved(const char *name, size_t n)
{
	static const char *const own[] = {
		"te",   "content-type", "content-length",    "user-agent",
		"host", "connection",   "transfer-encoding", "date"
	};

	if (n == 0 || name[0] == ':')
		return true;
	if (n >= 5 && memcmp(name, "grpc-", 5) == 0)
		return true;
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		if (n == strlen(own[i]) && memcmp(name, own[i], n) == 0)
			return true;
	return false;
}

bool weir__grpc_name_ok(const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < n; i++)
		if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') ||
		      strchr("-_.", name[i])))
			return false;
	return !weir__grpc_reserved(name, n);
}

int weir__grpc_code_of(int r)
{
	if (r >= 0)
		return r <= WEIR_GRPC_UNAUTHENTICATED ? r : WEIR_GRPC_UNKNOWN;
	switch (r) {
	case -ECANCELED:
		return WEIR_GRPC_CANCELLED;
	case -ETIMEDOUT:
		return WEIR_GRPC_DEADLINE_EXCEEDED;
	case -EINVAL:
		return WEIR_GRPC_INVALID_ARGUMENT;
	case -ENOENT:
		return WEIR_GRPC_NOT_FOUND;
	case -EEXIST:
		return WEIR_GRPC_ALREADY_EXISTS;
	case -EACCES:
	case -EPERM:
		return WEIR_GRPC_PERMISSION_DENIED;
	case -EMSGSIZE:
	case -ENOMEM:
	case -ENOBUFS:
	case -ENOSPC:
		return WEIR_GRPC_RESOURCE_EXHAUSTED;
	case -ENOSYS:
	case -EOPNOTSUPP:
		return WEIR_GRPC_UNIMPLEMENTED;
	case -EBADMSG:
		return WEIR_GRPC_INTERNAL;
	case -EAGAIN:
	case -ESHUTDOWN:
	case -EPIPE:
	case -ECONNRESET:
	case -ECONNREFUSED:
	case -EHOSTUNREACH:
		return WEIR_GRPC_UNAVAILABLE;
	default:
		return WEIR_GRPC_UNKNOWN;
	}
}

int weir__grpc_code_of_http(int status)
{
	switch (status) {
	case 400:
		return WEIR_GRPC_INTERNAL;
	case 401:
		return WEIR_GRPC_UNAUTHENTICATED;
	case 403:
		return WEIR_GRPC_PERMISSION_DENIED;
	case 404:
		return WEIR_GRPC_UNIMPLEMENTED;
	case 429:
	case 502:
	case 503:
	case 504:
		return WEIR_GRPC_UNAVAILABLE;
	default:
		return WEIR_GRPC_UNKNOWN;
	}
}

int weir__grpc_code_of_h2(uint32_t error)
{
	switch (error) {
	case 7: /* REFUSED_STREAM */
		return WEIR_GRPC_UNAVAILABLE;
	case 8: /* CANCEL */
		return WEIR_GRPC_CANCELLED;
	case 11: /* ENHANCE_YOUR_CALM */
		return WEIR_GRPC_RESOURCE_EXHAUSTED;
	case 12: /* INADEQUATE_SECURITY */
		return WEIR_GRPC_PERMISSION_DENIED;
	default:
		return WEIR_GRPC_INTERNAL;
	}
}

int weir__grpc_code_parse(const char *text, size_t n)
{
	int v = 0;

	if (n == 0 || n > 2)
		return WEIR_GRPC_UNKNOWN;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return WEIR_GRPC_UNKNOWN;
		v = v * 10 + (text[i] - '0');
	}
	return v <= WEIR_GRPC_UNAUTHENTICATED ? v : WEIR_GRPC_UNKNOWN;
}

const char *weir_grpc_code_name(int code)
{
	static const char *const names[] = { "OK",
		                             "CANCELLED",
		                             "UNKNOWN",
		                             "INVALID_ARGUMENT",
		                             "DEADLINE_EXCEEDED",
		                             "NOT_FOUND",
		                             "ALREADY_EXISTS",
		                             "PERMISSION_DENIED",
		                             "RESOURCE_EXHAUSTED",
		                             "FAILED_PRECONDITION",
		                             "ABORTED",
		                             "OUT_OF_RANGE",
		                             "UNIMPLEMENTED",
		                             "INTERNAL",
		                             "UNAVAILABLE",
		                             "DATA_LOSS",
		                             "UNAUTHENTICATED" };

	return code >= 0 && code <= WEIR_GRPC_UNAUTHENTICATED ? names[code] : "UNKNOWN";
}

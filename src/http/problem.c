/* SPDX-License-Identifier: MIT */
/* What is said when something went wrong: reason phrases, and problem details (RFC 9457). */
#include <stdio.h>
#include <string.h>

#include "http/server.h"

static const struct {
	int status;
	const char *reason;
} reasons[] = {
	{ 100, "Continue" },
	{ 101, "Switching Protocols" },
	{ 200, "OK" },
	{ 201, "Created" },
	{ 202, "Accepted" },
	{ 203, "Non-Authoritative Information" },
	{ 204, "No Content" },
	{ 205, "Reset Content" },
	{ 206, "Partial Content" },
	{ 300, "Multiple Choices" },
	{ 301, "Moved Permanently" },
	{ 302, "Found" },
	{ 303, "See Other" },
	{ 304, "Not Modified" },
	{ 307, "Temporary Redirect" },
	{ 308, "Permanent Redirect" },
	{ 400, "Bad Request" },
	{ 401, "Unauthorized" },
	{ 402, "Payment Required" },
	{ 403, "Forbidden" },
	{ 404, "Not Found" },
	{ 405, "Method Not Allowed" },
	{ 406, "Not Acceptable" },
	{ 407, "Proxy Authentication Required" },
	{ 408, "Request Timeout" },
	{ 409, "Conflict" },
	{ 410, "Gone" },
	{ 411, "Length Required" },
	{ 412, "Precondition Failed" },
	{ 413, "Content Too Large" },
	{ 414, "URI Too Long" },
	{ 415, "Unsupported Media Type" },
	{ 416, "Range Not Satisfiable" },
	{ 417, "Expectation Failed" },
	{ 421, "Misdirected Request" },
	{ 422, "Unprocessable Content" },
	{ 425, "Too Early" },
	{ 426, "Upgrade Required" },
	{ 428, "Precondition Required" },
	{ 429, "Too Many Requests" },
	{ 431, "Request Header Fields Too Large" },
	{ 451, "Unavailable For Legal Reasons" },
	{ 500, "Internal Server Error" },
	{ 501, "Not Implemented" },
	{ 502, "Bad Gateway" },
	{ 503, "Service Unavailable" },
	{ 504, "Gateway Timeout" },
	{ 505, "HTTP Version Not Supported" },
	{ 507, "Insufficient Storage" },
};

const char *weir_http_reason(int status)
{
	for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Unknown";
}

void weir__problem(struct weir__buf *b, int status, const char *detail)
{
	const char *title = weir_http_reason(status);

	weir__buf_str(b, "{\"type\":\"about:blank\",\"title\":");
	weir__buf_json(b, title, strlen(title));
	weir__buf_printf(b, ",\"status\":%d", status);
	if (detail) {
		weir__buf_str(b, ",\"detail\":");
		weir__buf_json(b, detail, strlen(detail));
	}
	weir__buf_str(b, "}\n");
}

void weir__problem_keep(weir_http *x, const char *detail)
{
	size_t n = detail ? strlen(detail) + 1 : 0;
	char *copy;

	x->detail = NULL;
	if (!n || !x->stream->h2 || !x->conn->server->guest)
		return;
	copy = weir_http_alloc(x, n);
	if (copy)
		x->detail = memcpy(copy, detail, n);
}

int weir_http_problem(const weir_ctx *ctx, weir_http *x, int status, const char *fmt, ...)
{
	struct weir__buf b = WEIR__BUF_INIT, detail = WEIR__BUF_INIT;
	va_list ap;
	int r;

	weir__http_live(x, __func__);
	va_start(ap, fmt);
	weir__buf_vprintf(&detail, fmt, ap);
	va_end(ap);
	weir__problem(&b, status, detail.failed ? NULL : detail.data);
	weir__problem_keep(x, detail.failed ? NULL : detail.data);
	r = b.failed ? -ENOMEM :
	               weir_http_reply(ctx, x, status, "application/problem+json", b.data, b.len);
	weir__buf_free(&detail);
	weir__buf_free(&b);
	return r;
}

size_t weir__answer_limit(char *out, size_t cap)
{
	static const char body[] =
		"{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
		"\"detail\":\"" WEIR__HTTP_TOO_LATE "\"}\n";
	char date[32];
	int n;

	weir__http_date_of(date, (time_t)(weir_wall() / WEIR_SEC(1)));
	n = snprintf(out, cap,
	             "HTTP/1.1 503 Service Unavailable\r\nDate: %s\r\n"
	             "Content-Type: application/problem+json\r\nRetry-After: 1\r\n"
	             "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
	             date, sizeof body - 1, body);

	return n > 0 && (size_t)n < cap ? (size_t)n : 0;
}

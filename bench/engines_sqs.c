/* SPDX-License-Identifier: MIT */
/*
 * Puts into SQS by one producer, through Weir and by a bare loop over libcurl: one at a time, and
 * 256 in flight. Both send the same messages, signed by the same code, and read the service's answer
 * for each; the loop puts ten into a request, as Weir does, one request after the other.
 *
 *	bench-engines_sqs sqs+http://127.0.0.1:9324    as bench-engines, "name weir|libcurl n"
 */
#include "puts.h"

#include <curl/curl.h>

#include "base/buf.h"
#include "queue/sigv4.h"

static CURL *easy;
static char endpoint[256], host[128];

static size_t read_answer(char *data, size_t size, size_t n, void *arg)
{
	weir__buf_add(arg, data, size * n);
	return size * n;
}

static void ok(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "libcurl: %s\n", what);
	exit(1);
}

/* One signed request; the answer is in *ret. */
static void call(const char *action, const struct weir__buf *body, struct weir__buf *ret)
{
	char target[64], date[40], authorization[512];
	struct weir__buf auth = WEIR__BUF_INIT;
	struct curl_slist *list = NULL;
	struct weir__sigv4 sign = { .key_id = getenv("AWS_ACCESS_KEY_ID"),
		                    .secret = getenv("AWS_SECRET_ACCESS_KEY"),
		                    .region = "us-east-1",
		                    .service = "sqs",
		                    .method = "POST",
		                    .path = "/",
		                    .body = body->data,
		                    .len = body->len };
	struct weir__sigv4_header headers[4];
	long status = 0;

	weir__sigv4_time(weir_wall() / WEIR_SEC(1), sign.time);
	snprintf(target, sizeof target, "X-Amz-Target: AmazonSQS.%s", action);
	snprintf(date, sizeof date, "X-Amz-Date: %s", sign.time);
	headers[0] = (struct weir__sigv4_header){ "content-type", "application/x-amz-json-1.0" };
	headers[1] = (struct weir__sigv4_header){ "host", host };
	headers[2] = (struct weir__sigv4_header){ "x-amz-date", sign.time };
	headers[3] = (struct weir__sigv4_header){ "x-amz-target", target + 14 };
	sign.headers = headers;
	sign.headers_n = 4;
	weir__sigv4_sign(&sign, &auth);
	snprintf(authorization, sizeof authorization, "Authorization: %s", auth.data);
	weir__buf_free(&auth);
	list = curl_slist_append(list, "Content-Type: application/x-amz-json-1.0");
	list = curl_slist_append(list, target);
	list = curl_slist_append(list, date);
	list = curl_slist_append(list, authorization);
	list = curl_slist_append(list, "Expect:");
	weir__buf_clear(ret);
	curl_easy_setopt(easy, CURLOPT_URL, endpoint);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, list);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body->data);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)body->len);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, read_answer);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, ret);
	ok(curl_easy_perform(easy) == CURLE_OK, action);
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	ok(status == 200, ret->data ? ret->data : action);
	curl_slist_free_all(list);
}

static void curl_puts(const char *name, const char *queue_url, size_t batch)
{
	struct weir__buf body = WEIR__BUF_INIT, answer = WEIR__BUF_INIT;
	struct start since = begin();
	uint64_t n = 0;

	while (weir_now() < since.at + TIME) {
		weir__buf_clear(&body);
		weir__buf_printf(&body, "{\"QueueUrl\":\"%s\",\"Entries\":[", queue_url);
		for (size_t i = 0; i < batch; i++) {
			weir__buf_printf(&body, "%s{\"Id\":\"%zu\",\"MessageBody\":", i ? "," : "",
			                 i);
			weir__buf_json(&body, payload, PAYLOAD);
			weir__buf_printf(&body,
			                 ",\"MessageAttributes\":{\"Weir-Id\":{\"DataType\":"
			                 "\"String\",\"StringValue\":\"%026llu\"},\"Weir-Created\":"
			                 "{\"DataType\":\"String\",\"StringValue\":\"%lld\"}}}",
			                 (unsigned long long)(n + i), (long long)weir_wall());
		}
		weir__buf_str(&body, "]}");
		call("SendMessageBatch", &body, &answer);
		ok(!strstr(answer.data, "\"Failed\""), answer.data);
		n += batch;
	}
	report(name, "libcurl", n, since);
	weir__buf_free(&body);
	weir__buf_free(&answer);
}

static void through_libcurl(void)
{
	struct weir__buf body = WEIR__BUF_INIT, answer = WEIR__BUF_INIT;
	char queue_url[256] = "", *at;

	snprintf(endpoint, sizeof endpoint, "%s/", url + 4);
	snprintf(host, sizeof host, "%s", strstr(url, "//") + 2);
	easy = curl_easy_init();
	ok(easy, "no memory");
	weir__buf_str(&body, "{\"QueueName\":\"bench\"}");
	call("GetQueueUrl", &body, &answer);
	at = strstr(answer.data, "\"http");
	ok(at && sscanf(at, "\"%255[^\"]", queue_url) == 1, "no queue");
	curl_puts("put-one-at-a-time", queue_url, 1);
	curl_puts("put-256-in-flight", queue_url, 10);
	curl_easy_cleanup(easy);
	weir__buf_free(&body);
	weir__buf_free(&answer);
}

int main(int argc, char **argv)
{
	int r;

	if (argc != 2 || strncmp(argv[1], "sqs+http", 8)) {
		fprintf(stderr, "usage: %s sqs+http://HOST:PORT\n", argv[0]);
		return 2;
	}
	url = argv[1];
	memset(payload, 'x', sizeof payload);
	setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", 1);
	setenv("AWS_REGION", "us-east-1", 1);
	r = weir_main(through_weir, NULL);
	if (r == 0)
		through_libcurl();
	return r;
}

/* SPDX-License-Identifier: MIT */
/*
 * Puts into SQS by one producer, through Weir and through libcurl alone: one at a time, and 256 in
 * flight. Both send the same messages with the same attributes, ten in a request, over at most
 * eight connections that are kept, signed by the same code, wait for all 256, and look at the
 * service's answer for each message. libcurl's user is a careful one: a multi handle with eight
 * easy handles that are set up once, and get their body and the headers that change for each
 * request. They take turns of half a second in one run, ABBA.
 *
 *	bench-engines_sqs sqs+http://127.0.0.1:9324    as bench-engines, "name weir|libcurl n"
 */
#include <curl/curl.h>

#include "base/buf.h"
#include "puts.h"
#include "queue/sigv4.h"

enum { REQUESTS = 8, ENTRIES = 10 };

static void ok(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "libcurl: %s\n", what);
	exit(1);
}

/* ---- libcurl, on a thread that it may block ---- */

struct request {
	CURL *easy;
	struct curl_slist *headers;
	struct weir__buf body, answer;
	size_t n; /* messages in it */
};

struct libcurl {
	struct peer peer;
	CURLM *multi;
	char endpoint[256], host[128], queue_url[256];
	struct request request[REQUESTS], *idle[REQUESTS];
	size_t idle_n;
	char day[WEIR__SIGV4_DAY]; /* that `key` signs on */
	unsigned char key[WEIR__SIGV4_KEY];
};

static size_t read_answer(char *data, size_t size, size_t n, void *arg)
{
	weir__buf_add(arg, data, size * n);
	return size * n;
}

static struct curl_slist *signed_headers(struct libcurl *p, const char *action,
                                         const struct weir__buf *body)
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

	weir__sigv4_time(weir_wall() / WEIR_SEC(1), sign.time);
	snprintf(target, sizeof target, "X-Amz-Target: AmazonSQS.%s", action);
	snprintf(date, sizeof date, "X-Amz-Date: %s", sign.time);
	headers[0] = (struct weir__sigv4_header){ "content-type", "application/x-amz-json-1.0" };
	headers[1] = (struct weir__sigv4_header){ "host", p->host };
	headers[2] = (struct weir__sigv4_header){ "x-amz-date", sign.time };
	headers[3] = (struct weir__sigv4_header){ "x-amz-target", target + 14 };
	sign.headers = headers;
	sign.headers_n = 4;
	if (memcmp(p->day, sign.time, sizeof p->day)) {
		ok(weir__sigv4_key(&sign, p->key), "no memory");
		memcpy(p->day, sign.time, sizeof p->day);
	}
	sign.key = p->key;
	weir__sigv4_sign(&sign, &auth);
	snprintf(authorization, sizeof authorization, "Authorization: %s", auth.data);
	weir__buf_free(&auth);
	list = curl_slist_append(list, "Content-Type: application/x-amz-json-1.0");
	list = curl_slist_append(list, target);
	list = curl_slist_append(list, date);
	list = curl_slist_append(list, authorization);
	return curl_slist_append(list, "Expect:");
}

/* The body is there. */
static void begin_request(struct libcurl *p, struct request *r, const char *action)
{
	r->headers = signed_headers(p, action, &r->body);
	weir__buf_clear(&r->answer);
	curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
	curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS, r->body.data);
	curl_easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE, (long)r->body.len);
	ok(curl_multi_add_handle(p->multi, r->easy) == CURLM_OK, action);
}

static void look_at(const struct request *r, CURLcode code)
{
	size_t taken = 0;
	long status = 0;

	ok(code == CURLE_OK, curl_easy_strerror(code));
	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	ok(status == 200, r->answer.data ? r->answer.data : "no answer");
	for (const char *at = r->answer.data; r->n && (at = strstr(at, "\"Id\"")); at++)
		taken++;
	ok(taken == r->n && !strstr(r->answer.data, "\"Failed\""), r->answer.data);
}

/* Until one request at least is idle; or all of them. */
static void wait_for(struct libcurl *p, bool all)
{
	struct request *r;
	int running, left;
	CURLMsg *m;

	while (!p->idle_n || (all && p->idle_n < REQUESTS)) {
		ok(curl_multi_perform(p->multi, &running) == CURLM_OK, "perform");
		while ((m = curl_multi_info_read(p->multi, &left))) {
			CURLcode code = m->data.result;

			curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &r);
			curl_multi_remove_handle(p->multi, r->easy);
			look_at(r, code);
			curl_slist_free_all(r->headers);
			p->idle[p->idle_n++] = r;
		}
		if (!p->idle_n || (all && p->idle_n < REQUESTS))
			ok(curl_multi_poll(p->multi, NULL, 0, 1000, NULL) == CURLM_OK, "poll");
	}
}

static void put(struct libcurl *p, size_t n)
{
	struct request *r = p->idle[--p->idle_n];
	struct weir__buf *b = &r->body;

	r->n = n;
	weir__buf_clear(b);
	weir__buf_printf(b, "{\"QueueUrl\":\"%s\",\"Entries\":[", p->queue_url);
	for (size_t i = 0; i < n; i++) {
		weir__buf_printf(b, "%s{\"Id\":\"%zu\",\"MessageBody\":", i ? "," : "", i);
		weir__buf_json(b, payload, PAYLOAD);
		weir__buf_printf(b,
		                 ",\"MessageAttributes\":{\"Weir-Id\":{\"DataType\":\"String\","
		                 "\"StringValue\":\"%026llu\"},\"Weir-Created\":{\"DataType\":"
		                 "\"String\",\"StringValue\":\"%lld\"}}}",
		                 (unsigned long long)++p->peer.last, (long long)weir_wall());
	}
	weir__buf_str(b, "]}");
	begin_request(p, r, "SendMessageBatch");
}

static int turn_of_libcurl(void *peer)
{
	struct libcurl *p = peer;
	struct start since = begin();
	uint64_t from = p->peer.last;

	while (weir_now() < since.at + TURN) {
		for (size_t left = p->peer.batch, n; left; left -= n) {
			n = left < ENTRIES ? left : ENTRIES;
			wait_for(p, false);
			put(p, n);
		}
		wait_for(p, true);
	}
	tally_add(&p->peer.tally, p->peer.last - from, since);
	return 0;
}

static int peer_open(void *peer)
{
	struct libcurl *p = peer;
	struct request *r = &p->request[0];
	char *at;

	snprintf(p->endpoint, sizeof p->endpoint, "%s/", url + 4);
	snprintf(p->host, sizeof p->host, "%s", strstr(url, "//") + 2);
	p->multi = curl_multi_init();
	ok(p->multi, "no memory");
	curl_multi_setopt(p->multi, CURLMOPT_MAXCONNECTS, (long)REQUESTS);
	for (int i = 0; i < REQUESTS; i++) {
		CURL *e = p->request[i].easy = curl_easy_init();

		ok(e, "no memory");
		curl_easy_setopt(e, CURLOPT_URL, p->endpoint);
		curl_easy_setopt(e, CURLOPT_PRIVATE, &p->request[i]);
		curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
		curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, read_answer);
		curl_easy_setopt(e, CURLOPT_WRITEDATA, &p->request[i].answer);
		p->idle[p->idle_n++] = &p->request[REQUESTS - 1 - i];
	}
	p->idle_n--; /* the first one */
	weir__buf_str(&r->body, "{\"QueueName\":\"bench\"}");
	begin_request(p, r, "GetQueueUrl");
	wait_for(p, true);
	at = strstr(r->answer.data, "\"http");
	ok(at && sscanf(at, "\"%255[^\"]", p->queue_url) == 1, "no queue");
	return 0;
}

static void peer_close(void *peer)
{
	struct libcurl *p = peer;

	for (int i = 0; i < REQUESTS; i++) {
		curl_easy_cleanup(p->request[i].easy);
		weir__buf_free(&p->request[i].body);
		weir__buf_free(&p->request[i].answer);
	}
	curl_multi_cleanup(p->multi);
}

int main(int argc, char **argv)
{
	static struct libcurl p = { .peer = { .name = "libcurl",
		                              .open = peer_open,
		                              .turn = turn_of_libcurl,
		                              .close = peer_close } };

	if (argc != 2 || strncmp(argv[1], "sqs+http", 8)) {
		fprintf(stderr, "usage: %s sqs+http://HOST:PORT\n", argv[0]);
		return 2;
	}
	url = argv[1];
	memset(payload, 'x', sizeof payload);
	setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", 1);
	setenv("AWS_REGION", "us-east-1", 1);
	return weir_main(side_by_side, &p);
}

/* SPDX-License-Identifier: MIT */
/*
 * Records that nobody wrote, in a file that is whole: the CRCs are made right here, so that what is
 * made up reaches the reader. It is taken, and then the store lives and closes, or refused. Input:
 * type, u16 length, body, and so on.
 */
#include "fuzz.h"

#include <stdio.h>
#include <unistd.h>
#include <weir/queue.h>
#include <weir/sim.h>

#include "base/buf.h"
#include "base/crc.h"
#include "base/log.h"

static char path[64];

static void number(struct weir__buf *b, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		weir__buf_byte(b, (char)(v >> (8 * i)));
}

static void record(struct weir__buf *b, char type, const void *body, size_t n)
{
	size_t from = b->len;

	weir__buf_byte(b, type);
	number(b, n, 4);
	weir__buf_add(b, body, n);
	number(b, weir__crc32c(0, b->data + from, b->len - from), 4);
}

static int live(const weir_ctx *ctx, void *arg)
{
	weir_store *s;
	weir_job *j;
	weir_ctx soon;
	int r = weir_store_open(ctx, "mem:", &(weir_store_options){ .spool = path }, &s);

	(void)arg;
	HOLDS(r == 0 || r == -EBADMSG);
	if (r < 0)
		return 0;
	soon = weir_ctx_timeout(ctx, WEIR_HOUR(1));
	if (weir_job_take(&soon, s, "q", NULL, &j) == 1)
		HOLDS(weir_job_nack(ctx, j, -1, NULL) == 0);
	HOLDS(weir_store_close(ctx, s, NULL) == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct weir__buf b = WEIR__BUF_INIT, end = WEIR__BUF_INIT;
	uint64_t records = 0;
	FILE *f;

	if (!*path) {
		const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

		snprintf(path, sizeof path, "%s/weir-fuzz-%d.spool", dir, (int)getpid());
		weir__log_set(WEIR__ERROR + 1, WEIR__LOG_TEXT);
	}
	weir__buf_str(&b, "WEIRSPOL");
	number(&b, 1, 4);
	while (n >= 3) {
		size_t len = (size_t)data[1] | (size_t)data[2] << 8;

		if (len > n - 3)
			len = n - 3;
		record(&b, (char)data[0], data + 3, len);
		data += 3 + len;
		n -= 3 + len;
		records++;
	}
	number(&end, records, 8);
	record(&b, 'E', end.data, end.len);
	HOLDS(!b.failed);
	f = fopen(path, "w");
	HOLDS(f);
	HOLDS(fwrite(b.data, b.len, 1, f) == 1);
	fclose(f);
	HOLDS(weir_sim(1, live, NULL) == 0);
	unlink(path);
	weir__buf_free(&b);
	weir__buf_free(&end);
	return 0;
}

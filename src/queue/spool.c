/* SPDX-License-Identifier: MIT */
/*
 * The spool: what the queues held at a clean stop, in one file.
 *
 *	file    = header record* end
 *	header  = "WEIRSPOL" u32 version
 *	record  = u8 type, u32 length, body of that length, u32 CRC-32C over type, length and body
 *	end     = a record of type 'E' whose body is u64, the number of records before it; nothing follows
 *
 * Numbers are little-endian; a text is u32 length and its bytes, without NUL; an absent text has
 * length 0xffffffff. Types: 'Q' a configured queue, 'J' a job (queued, delayed or dead; in the
 * order of ids), 'I' an idempotency key, 'C' a cron. Bodies are in the order of the code below. A
 * new field or meaning is a new version; older versions stay readable.
 *
 * Writing goes to PATH.tmp, then fsync, rename over PATH, fsync of the directory: there is either
 * the whole file or none. Reading checks everything before it believes it: a file that is foreign,
 * damaged, cut short or of a newer version is refused (-EBADMSG), said why, and left untouched.
 * When all was read the engine removes the file, for what it holds is now in the queues: a later
 * crash must not bring back jobs that have run since.
 *
 * Runs on an offload thread. Reading takes the store's lock record by record; when writing, the
 * store is closed and still.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/crc.h"
#include "base/log.h"
#include "queue/inner.h"
#include "rt/sim.h"

#define MAGIC "WEIRSPOL"
enum { VERSION = 1, HEAD = 12, RECORD_HEAD = 5 };

/* ---- Encoding ---- */

static void put_u32(struct weir__buf *b, uint32_t v)
{
	unsigned char p[4] = { (unsigned char)v, (unsigned char)(v >> 8), (unsigned char)(v >> 16),
		               (unsigned char)(v >> 24) };

	weir__buf_add(b, p, 4);
}

static void put_u64(struct weir__buf *b, uint64_t v)
{
	put_u32(b, (uint32_t)v);
	put_u32(b, (uint32_t)(v >> 32));
}

static void put_bytes(struct weir__buf *b, const void *p, size_t n)
{
	put_u32(b, (uint32_t)n);
	weir__buf_add(b, p, n);
}

static void put_text(struct weir__buf *b, const char *s)
{
	if (s)
		put_bytes(b, s, strlen(s));
	else
		put_u32(b, UINT32_MAX);
}

struct body {
	const unsigned char *p;
	size_t left;
	bool bad;
};

static const void *get(struct body *b, size_t n)
{
	const unsigned char *p = b->p;

	if (b->bad || n > b->left) {
		b->bad = true;
		return NULL;
	}
	b->p += n;
	b->left -= n;
	return p;
}

static uint32_t get_u32(struct body *b)
{
	const unsigned char *p = get(b, 4);

	return p ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	                       (uint32_t)p[3] << 24 :
	           0;
}

static uint64_t get_u64(struct body *b)
{
	uint64_t low = get_u32(b);

	return low | (uint64_t)get_u32(b) << 32;
}

/* A time or a distance: never negative, and far enough from the end of time to be added to. */
static int64_t get_time(struct body *b)
{
	uint64_t v = get_u64(b);

	if (v > INT64_MAX / 4)
		b->bad = true;
	return b->bad ? 0 : (int64_t)v;
}

/* Into buf as a C string; false when absent. */
static bool get_text(struct body *b, char *buf, size_t cap)
{
	uint32_t n = get_u32(b);
	const void *p;

	*buf = 0;
	if (n == UINT32_MAX)
		return false;
	p = n < cap ? get(b, n) : NULL;
	if (!p || memchr(p, 0, n)) {
		b->bad = true;
		return false;
	}
	memcpy(buf, p, n);
	buf[n] = 0;
	return true;
}

/* ---- Writing ---- */

struct writer {
	FILE *file;
	const bool *stop;
	struct weir__buf body;
	uint64_t records;
	int error;
};

static void write_record(struct writer *w, unsigned char type)
{
	uint32_t n = (uint32_t)w->body.len, crc;
	unsigned char head[RECORD_HEAD] = { type, (unsigned char)n, (unsigned char)(n >> 8),
		                            (unsigned char)(n >> 16), (unsigned char)(n >> 24) };

	if (w->error)
		return;
	if (w->body.failed || w->body.len >= UINT32_MAX) {
		w->error = -ENOMEM;
		return;
	}
	if (__atomic_load_n(w->stop, __ATOMIC_RELAXED)) {
		w->error = -EINTR;
		return;
	}
	crc = weir__crc32c(weir__crc32c(0, head, sizeof head), w->body.data, w->body.len);
	put_u32(&w->body, crc);
	if (w->body.failed)
		w->error = -ENOMEM;
	else if (fwrite(head, sizeof head, 1, w->file) != 1 ||
	         fwrite(w->body.data, w->body.len, 1, w->file) != 1)
		w->error = errno ? -errno : -EIO;
	w->records++;
	weir__buf_clear(&w->body);
}

static void write_queue(struct writer *w, const struct weir__queue *q)
{
	const weir_queue_settings *g = &q->given;
	uint64_t rate;

	memcpy(&rate, &g->rate, sizeof rate);
	put_text(&w->body, q->name);
	put_u64(&w->body, g->max);
	put_u64(&w->body, g->max_bytes);
	put_u64(&w->body, (uint64_t)g->lease_ns);
	put_u32(&w->body, g->attempts_max);
	put_u64(&w->body, (uint64_t)g->timeout_ns);
	put_u64(&w->body, (uint64_t)g->backoff_ns);
	put_u64(&w->body, (uint64_t)g->backoff_max_ns);
	put_u64(&w->body, rate);
	put_u32(&w->body, g->rate_burst);
	put_u32(&w->body, g->concurrency);
	put_u32(&w->body, g->key_concurrency);
	put_u64(&w->body, g->finished_max);
	put_u64(&w->body, (uint64_t)g->finished_ns);
	put_u32(&w->body, g->paused);
	write_record(w, 'Q');
}

static void write_job(struct writer *w, const struct weir__record *j)
{
	put_text(&w->body, j->id);
	put_text(&w->body, j->queue->name);
	put_u32(&w->body, j->state);
	put_u64(&w->body, j->ready.seq);
	put_u32(&w->body, (uint32_t)j->ready.priority);
	put_u32(&w->body, j->attempt);
	put_u32(&w->body, j->attempts_max);
	put_u64(&w->body, (uint64_t)j->timeout_ns);
	put_u64(&w->body, (uint64_t)j->created_at);
	put_u64(&w->body, (uint64_t)j->due_at);
	put_u64(&w->body, (uint64_t)j->finished_at);
	put_text(&w->body, j->error);
	put_text(&w->body, j->content_type);
	put_text(&w->body, j->key);
	put_bytes(&w->body, j->data, j->len);
	write_record(w, 'J');
}

static void write_idem(struct writer *w, const struct weir__idem *i)
{
	put_text(&w->body, i->text);
	put_text(&w->body, i->text + strlen(i->text) + 1);
	put_text(&w->body, i->id);
	put_u64(&w->body, (uint64_t)i->until_wall);
	write_record(w, 'I');
}

static void write_cron(struct writer *w, const struct weir__cron *c)
{
	put_text(&w->body, c->name);
	put_text(&w->body, c->text);
	put_text(&w->body, c->queue->name);
	put_u64(&w->body, (uint64_t)c->next_at);
	put_u64(&w->body, (uint64_t)c->last_at);
	put_bytes(&w->body, c->data, c->len);
	write_record(w, 'C');
}

static void write_all(struct writer *w, weir_store *s, size_t *ret_jobs)
{
	struct weir__buf head = WEIR__BUF_INIT;

	weir__buf_str(&head, MAGIC);
	put_u32(&head, VERSION);
	if (head.failed)
		w->error = -ENOMEM;
	else if (fwrite(head.data, head.len, 1, w->file) != 1)
		w->error = errno ? -errno : -EIO;
	weir__buf_free(&head);
	for (size_t i = 0; i < s->queues_n; i++) {
		struct weir__queue *q = s->queues[i];

		if (q->configured)
			write_queue(w, q);
		weir__list_each (n, &q->all) {
			const struct weir__record *j = weir__container(n, struct weir__record, all);

			*ret_jobs += j->held;
			if (j->held || j->state == WEIR_DEAD)
				write_job(w, j);
		}
	}
	for (size_t i = 0; i < s->crons_n; i++)
		write_cron(w, s->crons[i]);
	weir__list_each (n, &s->idems)
		write_idem(w, weir__container(n, struct weir__idem, link));
	put_u64(&w->body, w->records);
	write_record(w, 'E');
}

/* Makes a rename or removal in the file's directory last. */
static int sync_dir(const char *path)
{
	char *copy = strdup(path);
	int fd, r = 0;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0) /* offloaded */
		r = -errno;
	if (fd >= 0)
		close(fd);
	free(copy);
	return r;
}

static bool nothing_to_keep(const weir_store *s)
{
	bool keep = s->crons_n || !weir__list_empty(&s->idems);

	for (size_t i = 0; i < s->queues_n; i++)
		keep |= s->queues[i]->configured || s->queues[i]->held ||
		        s->queues[i]->count[WEIR_DEAD];
	return !keep;
}

int weir__spool_write(weir_store *s, const char *path, const bool *stop, size_t *ret_jobs)
{
	struct writer w = { .stop = stop, .body = WEIR__BUF_INIT };
	size_t n = strlen(path) + sizeof ".tmp";
	char *tmp;
	int fd;

	*ret_jobs = 0;
	if (nothing_to_keep(s))
		return 0;
	tmp = malloc(n);
	if (!tmp)
		return -ENOMEM;
	snprintf(tmp, n, "%s.tmp", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	w.file = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (!w.file) {
		w.error = -errno;
		if (fd >= 0)
			close(fd);
		goto out;
	}
	errno = 0;
	weir__sim_crash_point();
	write_all(&w, s, ret_jobs);
	weir__sim_crash_point();
	if (!w.error && (fflush(w.file) != 0 || fsync(fd) < 0)) /* offloaded */
		w.error = -errno;
	if (fclose(w.file) != 0 && !w.error)
		w.error = -errno;
	weir__sim_crash_point();
	if (!w.error && rename(tmp, path) < 0)
		w.error = -errno;
	weir__sim_crash_point();
	if (!w.error)
		w.error = sync_dir(path);
	else
		unlink(tmp);
out:
	if (w.error)
		weir__log(WEIR__ERROR, "queue", "the spool %s could not be written: %s", path,
		          strerrordesc_np(-w.error));
	weir__buf_free(&w.body);
	free(tmp);
	return w.error;
}

/* ---- Reading ---- */

static bool read_queue(weir_store *s, struct body *b, int *r)
{
	char name[WEIR__NAME_MAX + 1];
	weir_queue_settings g = { 0 };
	struct weir__queue *q;
	uint64_t rate;

	get_text(b, name, sizeof name);
	g.max = get_u64(b);
	g.max_bytes = get_u64(b);
	g.lease_ns = get_time(b);
	g.attempts_max = get_u32(b);
	g.timeout_ns = get_time(b);
	g.backoff_ns = get_time(b);
	g.backoff_max_ns = get_time(b);
	rate = get_u64(b);
	memcpy(&g.rate, &rate, sizeof g.rate);
	g.rate_burst = get_u32(b);
	g.concurrency = get_u32(b);
	g.key_concurrency = get_u32(b);
	g.finished_max = get_u64(b);
	g.finished_ns = get_time(b);
	g.paused = get_u32(b) != 0;
	if (b->bad || b->left || !weir_queue_name_valid(name) || !weir__queue_settings_ok(&g))
		return false;
	weir__store_enter(s);
	*r = weir__queue_get(s, name, &q);
	if (*r == 0)
		weir__queue_set(s, q, &g);
	weir__store_leave(s);
	return true;
}

/* A job in the state in which it was written. */
static int adopt_job(weir_store *s, const char *queue, struct weir__record *j,
                     enum weir_job_state state)
{
	struct weir__queue *q;
	int64_t delay = j->due_at - weir_wall(), finished_at = j->finished_at;
	int r = weir__queue_get(s, queue, &q);

	if (r < 0)
		return r;
	r = weir__job_admit(s, q, j);
	if (r < 0)
		return r;
	weir__job_id_seen(s, j->id);
	if (j->ready.seq >= s->seq)
		s->seq = j->ready.seq + 1;
	if (state == WEIR_DELAYED && delay > 0) {
		weir__job_to_delayed(s, j, delay, "from the spool");
	} else if (state == WEIR_DEAD) {
		weir__job_to_finished(s, j, WEIR_DEAD, "from the spool");
		j->finished_at = finished_at;
		weir__retain_check(s, q); /* Its time counts from then, and may be over. */
		weir__queue_idle(s, q);
	} else {
		weir__job_to_queued(s, j, "from the spool", true);
	}
	return 0;
}

static bool read_job(weir_store *s, struct body *b, int *r)
{
	char id[WEIR__ID + 2], queue[WEIR__NAME_MAX + 1], error[256], type[WEIR__TYPE_MAX + 1],
		key[WEIR__KEY_MAX + 1];
	weir_job_spec spec = { 0 };
	uint32_t state, attempt;
	uint64_t seq;
	int64_t created_at, due_at, finished_at;
	struct weir__record *j;
	bool has_error;

	get_text(b, id, sizeof id);
	get_text(b, queue, sizeof queue);
	state = get_u32(b);
	seq = get_u64(b);
	spec.priority = (int)get_u32(b);
	attempt = get_u32(b);
	spec.attempts_max = get_u32(b);
	spec.timeout_ns = get_time(b);
	created_at = get_time(b);
	due_at = get_time(b);
	finished_at = get_time(b);
	has_error = get_text(b, error, sizeof error);
	spec.content_type = get_text(b, type, sizeof type) ? type : NULL;
	spec.key = get_text(b, key, sizeof key) ? key : NULL;
	spec.len = get_u32(b);
	spec.data = get(b, spec.len);
	if (b->bad || b->left || strlen(id) != WEIR__ID || !weir_queue_name_valid(queue) || !seq ||
	    seq >= UINT64_MAX / 2 || spec.priority < -1000 || spec.priority > 1000 ||
	    (state != WEIR_QUEUED && state != WEIR_DELAYED && state != WEIR_DEAD))
		return false;
	j = weir__job_new(&spec);
	if (!j) {
		*r = -ENOMEM;
		return true;
	}
	memcpy(j->id, id, sizeof j->id);
	j->ready.seq = seq;
	j->attempt = attempt;
	j->created_at = created_at;
	j->due_at = due_at;
	j->finished_at = finished_at;
	weir__job_text(&j->error, has_error ? error : NULL, sizeof error);
	weir__store_enter(s);
	if (weir__job_find(s, id)) {
		weir__store_leave(s);
		weir__job_free(j);
		return s->journal.on; /* A durable store may have taken it over before a crash. */
	}
	*r = adopt_job(s, queue, j, state);
	weir__store_leave(s);
	if (*r < 0)
		weir__job_free(j);
	return true;
}

static bool read_idem(weir_store *s, struct body *b, int *r)
{
	char queue[WEIR__NAME_MAX + 1], key[WEIR__KEY_MAX + 1], id[WEIR__ID + 2];
	struct weir__idem *i;
	int64_t until;

	get_text(b, queue, sizeof queue);
	get_text(b, key, sizeof key);
	get_text(b, id, sizeof id);
	until = get_time(b);
	if (b->bad || b->left || !weir_queue_name_valid(queue) || strlen(id) != WEIR__ID)
		return false;
	i = weir__idem_new(queue, key);
	if (!i) {
		*r = -ENOMEM;
		return true;
	}
	weir__store_enter(s);
	weir__idem_add(s, i, id, until);
	weir__store_leave(s);
	return true;
}

static bool read_cron(weir_store *s, struct body *b, int *r)
{
	char name[WEIR__NAME_MAX + 1], text[128], queue[WEIR__NAME_MAX + 1];
	int64_t next_at, last_at;
	const void *data;
	uint32_t len;

	get_text(b, name, sizeof name);
	get_text(b, text, sizeof text);
	get_text(b, queue, sizeof queue);
	next_at = get_time(b);
	last_at = get_time(b);
	len = get_u32(b);
	data = get(b, len);
	if (b->bad || b->left || next_at <= 0)
		return false;
	*r = weir__cron_adopt(s, name, text, queue, data, len, next_at, last_at);
	return *r != -EINVAL && *r != -EMSGSIZE;
}

struct reader {
	const char *path;
	FILE *file;
	uint64_t size, at;
	unsigned char *body;
	size_t cap;
};

static int refuse(const struct reader *in, const char *what)
{
	weir__log(WEIR__ERROR, "queue",
	          "the spool %s %s (at byte %llu); it is left as it is: move it away to start "
	          "without it",
	          in->path, what, (unsigned long long)in->at);
	return -EBADMSG;
}

/* The next record's body, checked. 0 or an error. */
static int read_record(struct reader *in, unsigned char *ret_type, struct body *ret)
{
	unsigned char head[RECORD_HEAD];
	struct body crc;
	size_t len;

	if (in->size - in->at < RECORD_HEAD + 4 ||
	    fread(head, sizeof head, 1, in->file) != 1) /* offloaded */
		return refuse(in, "is cut short");
	len = (size_t)head[1] | (size_t)head[2] << 8 | (size_t)head[3] << 16 |
	      (size_t)head[4] << 24;
	if (in->size - in->at - RECORD_HEAD < len + 4)
		return refuse(in, "is damaged or cut short");
	if (len + 4 > in->cap) {
		unsigned char *p = realloc(in->body, len + 4);

		if (!p)
			return -ENOMEM;
		in->body = p;
		in->cap = len + 4;
	}
	if (fread(in->body, len + 4, 1, in->file) != 1) /* offloaded */
		return refuse(in, "cannot be read to its end");
	crc = (struct body){ .p = in->body + len, .left = 4 };
	if (get_u32(&crc) != weir__crc32c(weir__crc32c(0, head, sizeof head), in->body, len))
		return refuse(in, "is damaged");
	*ret_type = head[0];
	*ret = (struct body){ .p = in->body, .left = len };
	in->at += RECORD_HEAD + len + 4;
	return 0;
}

static int read_records(weir_store *s, struct reader *in, const bool *stop)
{
	for (uint64_t n = 0;; n++) {
		unsigned char type = 0;
		struct body b;
		uint64_t at = in->at;
		bool good;
		int r = read_record(in, &type, &b);

		if (r < 0)
			return r;
		if (__atomic_load_n(stop, __ATOMIC_RELAXED))
			return -EINTR;
		switch (type) {
		case 'Q':
			good = read_queue(s, &b, &r);
			break;
		case 'J':
			good = read_job(s, &b, &r);
			break;
		case 'I':
			good = read_idem(s, &b, &r);
			break;
		case 'C':
			good = read_cron(s, &b, &r);
			break;
		case 'E':
			if (get_u64(&b) == n && !b.bad && !b.left && in->at == in->size)
				return 0;
			/* Fall through. */
		default:
			good = false;
		}
		if (!good) {
			in->at = at;
			return refuse(in, "holds a record that makes no sense");
		}
		if (r < 0)
			return r;
	}
}

static int read_head(struct reader *in)
{
	unsigned char head[HEAD];
	struct body b = { .p = head + HEAD - 4, .left = 4 };
	uint32_t version;

	if (in->size < HEAD || fread(head, sizeof head, 1, in->file) != 1 || /* offloaded */
	    memcmp(head, MAGIC, HEAD - 4) != 0)
		return refuse(in, "is not a spool of weir");
	in->at = HEAD;
	version = get_u32(&b);
	if (version > VERSION || version == 0)
		return refuse(in, "was written by a newer weir");
	return 0;
}

int weir__spool_remove(const char *path)
{
	if (unlink(path) < 0)
		return errno == ENOENT ? 0 : -errno;
	/* From here the jobs are only here: no error may empty the store again. */
	if (sync_dir(path) < 0)
		weir__log(WEIR__WARN, "queue",
		          "a power loss may bring the spool %s back with jobs that have run", path);
	return 0;
}

int weir__spool_read(weir_store *s, const char *path, const bool *stop)
{
	struct reader in = { .path = path };
	unsigned queues_max = s->opt.queues_max;
	struct stat st;
	int fd, r;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	in.file = fdopen(fd, "r");
	if (!in.file || fstat(fd, &st) < 0) {
		r = -errno;
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		r = refuse(&in, "is not a file");
		goto out;
	}
	in.size = (uint64_t)st.st_size;
	/* What was accepted under other bounds is not refused now. */
	s->opt.queues_max = UINT32_MAX;
	r = read_head(&in);
	if (r == 0)
		r = read_records(s, &in, stop);
	s->opt.queues_max = queues_max;
out:
	if (in.file)
		fclose(in.file);
	else
		close(fd);
	free(in.body);
	return r;
}

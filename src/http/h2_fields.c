/* SPDX-License-Identifier: MIT */
#include "http/h2_fields.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 384 };

struct weir__h2_text {
	struct weir__h2_text *next;
	size_t used, size;
	char bytes[];
};

static char *keep(struct weir__h2_heads *h, const uint8_t *text, size_t n)
{
	struct weir__h2_text *k = h->texts;
	size_t size = n + 1 > PIECE ? n + 1 : PIECE;
	char *p;

	if (!k || k->size - k->used < n + 1) {
		k = malloc(sizeof *k + size);
		if (!k)
			return NULL;
		*k = (struct weir__h2_text){ .next = h->texts, .size = size };
		h->texts = k;
	}
	p = k->bytes + k->used;
	memcpy(p, text, n);
	p[n] = 0;
	k->used += n + 1;
	return p;
}

int weir__h2_heads_add(struct weir__h2_heads *h, bool trailing, const uint8_t *name,
                       size_t name_len, const uint8_t *value, size_t value_len)
{
	struct weir__h2_fields *to = trailing ? &h->trailer : &h->head;
	struct weir__h2_field *v;
	char *a, *b;

	h->len += name_len + value_len + 32;
	if (h->len > WEIR__H2_FIELDS_MAX)
		return -EMSGSIZE;
	if (to->n == to->cap) {
		size_t cap = to->cap ? 2 * to->cap : 8;

		v = realloc(to->v, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		to->v = v;
		to->cap = cap;
	}
	a = keep(h, name, name_len);
	b = keep(h, value, value_len);
	if (!a || !b)
		return -ENOMEM;
	to->v[to->n++] = (struct weir__h2_field){ a, b, name_len, value_len };
	return 0;
}

const struct weir__h2_field *weir__h2_heads_get(const struct weir__h2_heads *h, bool trailing,
                                                const char *name)
{
	const struct weir__h2_fields *f = trailing ? &h->trailer : &h->head;
	size_t n = strlen(name);

	for (size_t i = 0; i < f->n; i++)
		if (f->v[i].name_len == n && memcmp(f->v[i].name, name, n) == 0)
			return &f->v[i];
	return NULL;
}

void weir__h2_heads_free(struct weir__h2_heads *h)
{
	struct weir__h2_text *next;

	for (struct weir__h2_text *k = h->texts; k; k = next) {
		next = k->next;
		free(k);
	}
	free(h->head.v);
	free(h->trailer.v);
}

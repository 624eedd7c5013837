/* SPDX-License-Identifier: MIT */
/*
 * A node is a token below its parent. Plain children of all nodes live in one hash table keyed by
 * (parent, token), so that a node with a million children costs no more than one with two; the
 * wildcards hang off their parent directly. The hash uses the parent's number, never its address,
 * since a simulation must not depend on addresses.
 *
 * A match goes down level by level with the set of nodes reached so far (the frontier), linked
 * through the nodes themselves: in a tree no node is reached twice, so the walk needs neither
 * memory nor recursion, and visits only nodes that exist. Rejected: recursion (a subject may have
 * 512 tokens, a task's stack is 64 KiB).
 */
#include "bus/trie.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t hash_of(const struct weir__trie *t, const struct weir__trie_node *parent,
                        const char *token, size_t len)
{
	uint64_t key[2] = { t->plain.seed[0] ^ parent->id, t->plain.seed[1] };

	return weir__hash(key, token, len);
}

static struct weir__trie_node *find(struct weir__trie *t, struct weir__trie_node *parent,
                                    const char *token, size_t len)
{
	weir__hash_each (x, &t->plain, hash_of(t, parent, token, len)) {
		struct weir__trie_node *n = weir__container(x, struct weir__trie_node, node);

		if (n->parent == parent && n->len == len && !memcmp(n->token, token, len))
			return n;
	}
	return NULL;
}

/* Where a wildcard child hangs, or NULL for a plain token. */
static struct weir__trie_node **wild_place(struct weir__trie_node *parent, const char *token,
                                           size_t len)
{
	if (len == 1 && token[0] == '*')
		return &parent->any;
	if (len == 1 && token[0] == '>')
		return &parent->rest;
	return NULL;
}

static struct weir__trie_node *child_get(struct weir__trie *t, struct weir__trie_node *parent,
                                         const char *token, size_t len)
{
	struct weir__trie_node **wild = wild_place(parent, token, len);
	struct weir__trie_node *n = wild ? *wild : find(t, parent, token, len);
	char *text;

	if (n)
		return n;
	n = calloc(1, sizeof *n + len);
	if (!n)
		return NULL;
	text = (char *)(n + 1);
	memcpy(text, token, len);
	n->token = text;
	n->len = len;
	n->parent = parent;
	n->id = ++t->next_id;
	weir__list_init(&n->entries);
	if (wild)
		*wild = n;
	else
		weir__hash_add(&t->plain, &n->node, hash_of(t, parent, token, len));
	parent->children++;
	return n;
}

/* Free a node that nothing needs any more, and those above it which only it needed. */
static void prune(struct weir__trie *t, struct weir__trie_node *n)
{
	while (n->parent && n->children == 0 && weir__list_empty(&n->entries)) {
		struct weir__trie_node *parent = n->parent;
		struct weir__trie_node **wild = wild_place(parent, n->token, n->len);

		if (wild)
			*wild = NULL;
		else
			weir__hash_remove(&t->plain, &n->node);
		parent->children--;
		free(n);
		n = parent;
	}
}

void weir__trie_init(struct weir__trie *t, uint64_t seed)
{
	memset(t, 0, sizeof *t);
	t->plain.seed[0] = seed;
	t->plain.seed[1] = ~seed;
	t->root.token = "";
	weir__list_init(&t->root.entries);
}

void weir__trie_fini(struct weir__trie *t)
{
	weir__assert(t->root.children == 0, "a subject index is freed with subscriptions in it");
	weir__hash_free(&t->plain);
}

int weir__trie_insert(struct weir__trie *t, struct weir__trie_entry *e, const char *pattern)
{
	struct weir__trie_node *n = &t->root;

	for (const char *token = pattern;;) {
		size_t len = strcspn(token, ".");
		struct weir__trie_node *child = child_get(t, n, token, len);

		if (!child) {
			prune(t, n);
			return -ENOMEM;
		}
		n = child;
		if (!token[len])
			break;
		token += len + 1;
	}
	weir__list_append(&n->entries, &e->link);
	e->node = n;
	return 0;
}

void weir__trie_remove(struct weir__trie *t, struct weir__trie_entry *e)
{
	struct weir__trie_node *n = e->node;

	if (!n)
		return;
	e->node = NULL;
	weir__list_remove(&e->link);
	prune(t, n);
}

void weir__trie_pattern(const struct weir__trie_entry *e, char *ret)
{
	size_t end = 0;
	char *at;

	for (const struct weir__trie_node *n = e->node; n->parent; n = n->parent)
		end += n->len + 1;
	ret[end - 1] = 0;
	at = ret + end - 1;
	for (const struct weir__trie_node *n = e->node; n->parent; n = n->parent) {
		at -= n->len;
		memcpy(at, n->token, n->len);
		if (n->parent->parent)
			*--at = '.';
	}
}

static void visit(struct weir__trie_node *n, void (*fn)(struct weir__trie_entry *e, void *arg),
                  void *arg)
{
	weir__list_each (l, &n->entries)
		fn(weir__container(l, struct weir__trie_entry, link), arg);
}

void weir__trie_match(struct weir__trie *t, const char *subject,
                      void (*fn)(struct weir__trie_entry *e, void *arg), void *arg)
{
	struct weir__trie_node *frontier = &t->root;

	t->root.front = NULL;
	for (const char *token = subject; frontier;) {
		size_t len = strcspn(token, ".");
		struct weir__trie_node *next = NULL;

		for (struct weir__trie_node *n = frontier; n; n = n->front) {
			struct weir__trie_node *child = find(t, n, token, len);

			if (n->rest)
				visit(n->rest, fn, arg);
			if (n->any) {
				n->any->front = next;
				next = n->any;
			}
			if (child) {
				child->front = next;
				next = child;
			}
		}
		frontier = next;
		if (!token[len])
			break;
		token += len + 1;
	}
	for (struct weir__trie_node *n = frontier; n; n = n->front)
		visit(n, fn, arg);
}

/* SPDX-License-Identifier: MIT */
/*
 * The index of subscriptions: a tree of tokens in which the patterns that match a subject are found
 * in time that depends on the subject and its matches, not on how many patterns there are. No
 * locks: the owner guards it.
 */
#ifndef WEIR_BUS_TRIE_H
#define WEIR_BUS_TRIE_H

#include "base/hash.h"
#include "base/list.h"

#include <stdint.h>

struct weir__trie_node {
	struct weir__hash_node node; /* of a plain token */
	struct weir__trie_node *parent;
	struct weir__trie_node *front;      /* the next of a match's frontier; scratch */
	struct weir__trie_node *any, *rest; /* the children "*" and ">" */
	struct weir__list entries;
	uint64_t id;
	size_t children; /* of all three kinds */
	size_t len;
	const char *token;
};

/* Part of what is indexed. node is NULL while it is not in the tree. */
struct weir__trie_entry {
	struct weir__list link;
	struct weir__trie_node *node;
};

struct weir__trie {
	struct weir__trie_node root;
	struct weir__hash_table plain;
	uint64_t next_id;
};

void weir__trie_init(
	struct weir__trie *t,
	uint64_t seed); /* of the hash: random, so that no peer can choose tokens that collide */
void weir__trie_fini(struct weir__trie *t); /* must be empty */

/* 0 or -ENOMEM. The pattern is valid and is not kept. */
int weir__trie_insert(struct weir__trie *t, struct weir__trie_entry *e, const char *pattern);
/* Fine when it is not in. */
void weir__trie_remove(struct weir__trie *t, struct weir__trie_entry *e);

/* The pattern it is in at, with at most WEIR_SUBJECT_MAX bytes. */
void weir__trie_pattern(const struct weir__trie_entry *e, char *ret);

/* Calls fn for every entry whose pattern matches; the tree must not change meanwhile. Never
 * allocates. */
void weir__trie_match(struct weir__trie *t, const char *subject,
                      void (*fn)(struct weir__trie_entry *e, void *arg), void *arg);

#endif

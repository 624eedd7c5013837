/* SPDX-License-Identifier: MIT */
/* Circular, doubly linked, intrusive list. A node that is not in a list has next == NULL. */
#ifndef WEIR_BASE_LIST_H
#define WEIR_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct weir__list {
	struct weir__list *next, *prev;
};

#define weir__container(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void weir__list_init(struct weir__list *head)
{
	head->next = head->prev = head;
}

static inline bool weir__list_empty(const struct weir__list *head)
{
	return head->next == head;
}

static inline bool weir__list_linked(const struct weir__list *node)
{
	return node->next != NULL;
}

static inline void weir__list_insert(struct weir__list *before, struct weir__list *node)
{
	node->next = before;
	node->prev = before->prev;
	before->prev->next = node;
	before->prev = node;
}

static inline void weir__list_append(struct weir__list *head, struct weir__list *node)
{
	weir__list_insert(head, node);
}

static inline void weir__list_prepend(struct weir__list *head, struct weir__list *node)
{
	weir__list_insert(head->next, node);
}

static inline void weir__list_remove(struct weir__list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	node->next = node->prev = NULL;
}

static inline struct weir__list *weir__list_pop(struct weir__list *head)
{
	struct weir__list *node = head->next;

	if (node == head)
		return NULL;
	weir__list_remove(node);
	return node;
}

/* All of `from` behind all of `head`. */
static inline void weir__list_append_all(struct weir__list *head, struct weir__list *from)
{
	if (weir__list_empty(from))
		return;
	from->next->prev = head->prev;
	head->prev->next = from->next;
	from->prev->next = head;
	head->prev = from->prev;
	weir__list_init(from);
}

#define weir__list_each(node, head) \
	for (struct weir__list *node = (head)->next; node != (head); node = node->next)

/* Safe when the body removes `node`. */
#define weir__list_each_safe(node, head)                                                        \
	for (struct weir__list *node = (head)->next, *node##_next = node->next; node != (head); \
	     node = node##_next, node##_next = node->next)

#endif

/* SPDX-License-Identifier: MIT */
/*
 * How a NATS client signs in with a line of the token file: by its token (auth_token), by name and
 * token (user and password), or by a signature with the key whose public half stands there as
 * "nkey:U…". Its rights on subjects are those of the line.
 */
#include <stdio.h>
#include <string.h>

#include "auth.h"

/* What everybody is denied: to speak as the server itself. */
static int deny_own(weir_nats_user *u)
{
	int r = weir_nats_user_deny(u, WEIR_NATS_PUBLISH, "weir");

	return r < 0 ? r : weir_nats_user_deny(u, WEIR_NATS_PUBLISH, "weir.>");
}

/* Workers ask the server for jobs; what they do with a job asks for its lease, which is a
 * secret. */
static int open_take(weir_nats_user *u, const char *queues)
{
	static const char *const verbs[] = { "ack", "nack", "return", "extend", "progress" };
	char subject[160];
	int r;

	snprintf(subject, sizeof subject, "weir.jobs.take.%s", queues);
	r = weir_nats_user_open(u, subject);
	for (size_t i = 0; r == 0 && i < sizeof verbs / sizeof *verbs; i++) {
		snprintf(subject, sizeof subject, "weir.jobs.%s", verbs[i]);
		r = weir_nats_user_open(u, subject);
	}
	return r;
}

static int user_of(const struct token *t, weir_nats_user **ret)
{
	weir_nats_user *u = weir_nats_user_new(t->name);
	int r = u ? deny_own(u) : -ENOMEM;

	for (size_t i = 0; r == 0 && i < t->grants_n; i++) {
		const struct grant *g = &t->grants[i];
		unsigned what = g->right & MAY_ADMIN     ? WEIR_NATS_PUBLISH | WEIR_NATS_SUBSCRIBE :
		                g->right & MAY_PUBLISH   ? WEIR_NATS_PUBLISH :
		                g->right & MAY_SUBSCRIBE ? WEIR_NATS_SUBSCRIBE :
		                                           0;

		if (what)
			r = weir_nats_user_allow(u, what, g->pattern ? g->pattern : ">");
		if (r == 0 && g->right & (MAY_TAKE | MAY_ADMIN))
			r = open_take(u, g->pattern ? g->pattern : "*");
	}
	if (r < 0)
		weir_nats_user_free(u);
	else
		*ret = u;
	return r;
}

int auth_nats_sign_in(const weir_nats_login *login, weir_nats_user **ret, void *arg)
{
	const char *secret = login->token ? login->token : login->pass;
	struct table *table = auth_table(arg);
	const struct token *t = NULL;
	char nkey[sizeof NKEY + 64];
	int r;

	if (login->nkey) {
		snprintf(nkey, sizeof nkey, NKEY "%s", login->nkey);
		t = auth_find_line(table, nkey);
	} else if (secret) {
		t = auth_find_token(table, secret);
		if (t && !login->token && (!login->user || strcmp(t->name, login->user)))
			t = NULL;
	}
	r = t ? user_of(t, ret) : -EACCES;
	auth_table_unref(table);
	return r;
}

int auth_nats_renew(const char *name, weir_nats_user **ret, void *arg)
{
	struct table *table = auth_table(arg);
	int r = -EACCES;

	for (size_t i = 0; i < table->n; i++)
		if (!strcmp(table->tokens[i].name, name))
			r = user_of(&table->tokens[i], ret);
	auth_table_unref(table);
	return r;
}

int auth_nats_anybody(weir_nats_user **ret)
{
	weir_nats_user *u = weir_nats_user_new("");
	int r = u ? deny_own(u) : -ENOMEM;

	if (r == 0)
		r = weir_nats_user_allow(u, WEIR_NATS_PUBLISH | WEIR_NATS_SUBSCRIBE, ">");
	if (r == 0)
		r = open_take(u, "*");
	if (r < 0)
		weir_nats_user_free(u);
	else
		*ret = u;
	return r;
}

/* SPDX-License-Identifier: MIT */
/*
 * Server reflection, from a FileDescriptorSet (descriptor.proto of protobuf).
 *
 * The set is walked once: each file's bytes are noted where they lie, with its name, its imports,
 * and the full names of what it defines. Of a file only what is asked for is read, so there is no
 * need for descriptor.proto's own messages: a walk over the wire format does.
 *
 * An answer to a question for a file holds it and all that it imports, but what was sent on this
 * stream before. It is made in the memory of its question, which goes with the next one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/grpc_protobuf.h>

#include "grpc/protowire.h"
#include "grpc/server.h"
#include "reflection.pb-c.h"

typedef Grpc__Reflection__V1__ServerReflectionRequest request;
typedef Grpc__Reflection__V1__ServerReflectionResponse response;

enum { FILES_MAX = 4096, DEPTH_MAX = 32 };

enum kind { SERVICE, METHOD, OTHER, EXTENSION };

struct symbol {
	struct symbol *next;
	enum kind kind;
	unsigned file;
	int32_t number; /* of an extension; its name is whom it extends */
	char name[];
};

struct file {
	struct weir__pb_bytes bytes, name;
};

struct weir__grpc_reflection {
	struct file *files;
	unsigned n;
	struct symbol *symbols, **last;
};

/* ---- reading a set ---- */

static struct weir__pb_bytes string_of(struct weir__pb_bytes in, uint32_t number)
{
	struct weir__pb_bytes found = { "", 0 };
	struct weir__pb_field f;

	while (weir__pb_next(&in, &f) > 0)
		if (f.number == number)
			found = f.bytes;
	return found;
}

static int add(struct weir__grpc_reflection *refl, enum kind kind, const char *scope,
               struct weir__pb_bytes name, int32_t number, struct symbol **ret)
{
	size_t n = strlen(scope), size = n + name.n + 2;
	struct symbol *s = malloc(sizeof *s + size);

	if (!s)
		return -ENOMEM;
	*s = (struct symbol){ .kind = kind, .file = refl->n, .number = number };
	snprintf(s->name, size, "%s%s%.*s", scope, n ? "." : "", (int)name.n, name.at);
	*refl->last = s;
	refl->last = &s->next;
	if (ret)
		*ret = s;
	return 0;
}

/* FieldDescriptorProto: extendee = 2 (".pkg.Type"), number = 3. */
static int add_extension(struct weir__grpc_reflection *refl, const char *scope,
                         struct weir__pb_bytes in)
{
	struct weir__pb_bytes name = string_of(in, 1), extendee = string_of(in, 2);
	struct weir__pb_field f;
	int32_t number = 0;
	int r;

	if (extendee.n && *extendee.at == '.') {
		extendee.at++;
		extendee.n--;
	}
	while ((r = weir__pb_next(&in, &f)) > 0)
		if (f.number == 3)
			number = (int32_t)f.value;
	if (r == 0)
		r = add(refl, EXTENSION, "", extendee, number, NULL);
	return r < 0 ? r : add(refl, OTHER, scope, name, 0, NULL);
}

/* DescriptorProto: field = 2, nested_type = 3, enum_type = 4, extension = 6. */
static int add_message(struct weir__grpc_reflection *refl, const char *scope,
                       struct weir__pb_bytes in, int depth)
{
	struct symbol *s;
	struct weir__pb_field f;
	int r;

	r = add(refl, OTHER, scope, string_of(in, 1), 0, &s);
	if (r < 0)
		return r;
	while ((r = weir__pb_next(&in, &f)) > 0) {
		if (f.number == 2 || f.number == 4)
			r = add(refl, OTHER, s->name, string_of(f.bytes, 1), 0, NULL);
		else if (f.number == 3)
			r = depth < DEPTH_MAX ? add_message(refl, s->name, f.bytes, depth + 1) :
			                        -EBADMSG;
		else if (f.number == 6)
			r = add_extension(refl, s->name, f.bytes);
		if (r < 0)
			break;
	}
	return r;
}

/* ServiceDescriptorProto: method = 2. */
static int add_service(struct weir__grpc_reflection *refl, const char *scope,
                       struct weir__pb_bytes in)
{
	struct symbol *s;
	struct weir__pb_field f;
	int r;

	r = add(refl, SERVICE, scope, string_of(in, 1), 0, &s);
	if (r < 0)
		return r;
	while ((r = weir__pb_next(&in, &f)) > 0)
		if (f.number == 2 &&
		    (r = add(refl, METHOD, s->name, string_of(f.bytes, 1), 0, NULL)) < 0)
			break;
	return r;
}

/* FileDescriptorProto: name = 1, package = 2, dependency = 3, message_type = 4, enum_type = 5,
 * service = 6, extension = 7. */
static int add_file(struct weir__grpc_reflection *refl, struct weir__pb_bytes in)
{
	struct weir__pb_bytes package = string_of(in, 2);
	struct file *files;
	struct weir__pb_field f;
	char scope[256];
	int r;

	if (refl->n == FILES_MAX || package.n >= sizeof scope)
		return -EBADMSG;
	files = realloc(refl->files, (refl->n + 1) * sizeof *files);
	if (!files)
		return -ENOMEM;
	refl->files = files;
	files[refl->n] = (struct file){ in, string_of(in, 1) };
	memcpy(scope, package.at, package.n);
	scope[package.n] = 0;
	while ((r = weir__pb_next(&in, &f)) > 0) {
		if (f.number == 4)
			r = add_message(refl, scope, f.bytes, 0);
		else if (f.number == 5)
			r = add(refl, OTHER, scope, string_of(f.bytes, 1), 0, NULL);
		else if (f.number == 6)
			r = add_service(refl, scope, f.bytes);
		else if (f.number == 7)
			r = add_extension(refl, scope, f.bytes);
		if (r < 0)
			return r;
	}
	if (r == 0)
		refl->n++;
	return r;
}

/* ---- answering ---- */

static int find_file(const struct weir__grpc_reflection *refl, struct weir__pb_bytes name)
{
	for (unsigned i = 0; i < refl->n; i++)
		if (refl->files[i].name.n == name.n &&
		    memcmp(refl->files[i].name.at, name.at, name.n) == 0)
			return (int)i;
	return -1;
}

/* The file that defines it; number 0: anything but an extension. */
static int find_symbol(const struct weir__grpc_reflection *refl, const char *name, int32_t number)
{
	for (const struct symbol *s = refl->symbols; s; s = s->next)
		if ((s->kind == EXTENSION) == (number != 0) && s->number == number &&
		    !strcmp(s->name, name))
			return (int)s->file;
	return -1;
}

struct sending {
	const struct weir__grpc_reflection *refl;
	weir_grpc *call;
	bool *sent; /* per file */
	unsigned *queue;
};

/* The file and what it imports, breadth first. */
static int give_files(struct sending *to, int first, response *out)
{
	Grpc__Reflection__V1__FileDescriptorResponse *files;
	const struct weir__grpc_reflection *refl = to->refl;
	unsigned n = 0;

	files = weir__grpc_alloc_until_next(to->call, sizeof *files);
	if (!files)
		return -ENOMEM;
	grpc__reflection__v1__file_descriptor_response__init(files);
	to->sent[first] = true;
	to->queue[n++] = (unsigned)first;
	for (unsigned i = 0; i < n; i++) {
		struct weir__pb_bytes in = refl->files[to->queue[i]].bytes;
		struct weir__pb_field f;

		while (weir__pb_next(&in, &f) > 0) {
			int import = f.number == 3 ? find_file(refl, f.bytes) : -1;

			if (import >= 0 && !to->sent[import]) {
				to->sent[import] = true;
				to->queue[n++] = (unsigned)import;
			}
		}
	}
	files->file_descriptor_proto =
		weir__grpc_alloc_until_next(to->call, n * sizeof *files->file_descriptor_proto);
	if (!files->file_descriptor_proto)
		return -ENOMEM;
	files->n_file_descriptor_proto = n;
	for (unsigned i = 0; i < n; i++) {
		struct weir__pb_bytes bytes = refl->files[to->queue[i]].bytes;

		files->file_descriptor_proto[i] =
			(ProtobufCBinaryData){ bytes.n, (uint8_t *)(uintptr_t)bytes.at };
	}
	out->message_response_case =
		GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
	out->file_descriptor_response = files;
	return 0;
}

static int give_services(struct sending *to, response *out)
{
	Grpc__Reflection__V1__ListServiceResponse *list;
	Grpc__Reflection__V1__ServiceResponse *v;
	size_t n = 0;

	for (const struct symbol *s = to->refl->symbols; s; s = s->next)
		n += s->kind == SERVICE;
	list = weir__grpc_alloc_until_next(to->call, sizeof *list);
	v = weir__grpc_alloc_until_next(to->call, n * sizeof *v);
	if (!list || !v)
		return -ENOMEM;
	grpc__reflection__v1__list_service_response__init(list);
	list->service = weir__grpc_alloc_until_next(to->call, n * sizeof *list->service);
	if (!list->service)
		return -ENOMEM;
	for (struct symbol *s = to->refl->symbols; s; s = s->next) {
		if (s->kind != SERVICE)
			continue;
		grpc__reflection__v1__service_response__init(v);
		v->name = s->name;
		list->service[list->n_service++] = v++;
	}
	out->message_response_case =
		GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
	out->list_services_response = list;
	return 0;
}

static int give_numbers(struct sending *to, const char *type, response *out)
{
	Grpc__Reflection__V1__ExtensionNumberResponse *all;
	size_t n = 0;

	if (find_symbol(to->refl, type, 0) < 0)
		return -ENOENT;
	for (const struct symbol *s = to->refl->symbols; s; s = s->next)
		n += s->kind == EXTENSION && !strcmp(s->name, type);
	all = weir__grpc_alloc_until_next(to->call, sizeof *all);
	if (!all)
		return -ENOMEM;
	grpc__reflection__v1__extension_number_response__init(all);
	all->base_type_name = (char *)(uintptr_t)type;
	all->extension_number =
		weir__grpc_alloc_until_next(to->call, n * sizeof *all->extension_number);
	if (!all->extension_number)
		return -ENOMEM;
	for (const struct symbol *s = to->refl->symbols; s; s = s->next)
		if (s->kind == EXTENSION && !strcmp(s->name, type))
			all->extension_number[all->n_extension_number++] = s->number;
	out->message_response_case =
		GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ALL_EXTENSION_NUMBERS_RESPONSE;
	out->all_extension_numbers_response = all;
	return 0;
}

static int answer(struct sending *to, const request *in, response *out)
{
	int file = -1;

	switch (in->message_request_case) {
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
		file = find_file(to->refl, (struct weir__pb_bytes){ in->file_by_filename,
		                                                    strlen(in->file_by_filename) });
		break;
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
		file = find_symbol(to->refl, in->file_containing_symbol, 0);
		break;
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
		if (in->file_containing_extension->extension_number)
			file = find_symbol(to->refl, in->file_containing_extension->containing_type,
			                   in->file_containing_extension->extension_number);
		break;
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
		return give_numbers(to, in->all_extension_numbers_of_type, out);
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
		return give_services(to, out);
	default:
		return -EINVAL;
	}
	return file < 0 ? -ENOENT : give_files(to, file, out);
}

static int info(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	struct sending to = { .refl = arg, .call = call };
	request *in;
	int r;

	to.sent = calloc(to.refl->n + 1, sizeof *to.sent);
	to.queue = calloc(to.refl->n + 1, sizeof *to.queue);
	r = to.sent && to.queue ? 1 : -ENOMEM;
	while (r > 0 &&
	       (r = weir_grpc_recv_pb(&live, call, grpc__reflection__v1__server_reflection_request,
	                              &in)) > 0) {
		Grpc__Reflection__V1__ErrorResponse error =
			GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
		response out = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;

		out.valid_host = in->host;
		out.original_request = in;
		r = answer(&to, in, &out);
		if (r == -ENOENT || r == -EINVAL) {
			error.error_code = weir__grpc_code_of(r);
			error.error_message =
				r == -ENOENT ? (char *)"not found" : (char *)"not such a question";
			out.message_response_case =
				GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
			out.error_response = &error;
			r = 0;
		}
		if (r == 0)
			r = weir_grpc_send_pb(ctx, call, &out);
		if (r == 0)
			r = 1;
	}
	free(to.sent);
	free(to.queue);
	return r;
}

/* ---- life ---- */

void weir__grpc_reflection_free(struct weir__grpc_reflection *refl)
{
	struct symbol *s;

	if (!refl)
		return;
	while ((s = refl->symbols)) {
		refl->symbols = s->next;
		free(s);
	}
	free(refl->files);
	free(refl);
}

static int routes(weir_http_server *s, struct weir__grpc_reflection *refl)
{
	int r = weir_grpc_method(s, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	                         info, refl);

	return r < 0 ? r :
	               weir_grpc_method(
			       s, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
			       info, refl);
}

int weir_grpc_reflection_add(weir_http_server *s, const void *set, size_t n)
{
	struct weir__grpc_server *g = weir__grpc_server(s);
	struct weir__pb_bytes in = { set, n };
	struct weir__pb_field f;
	int r = 0;

	if (!g)
		return -ENOMEM;
	if (!g->reflection) {
		g->reflection = calloc(1, sizeof *g->reflection);
		if (!g->reflection)
			return -ENOMEM;
		g->reflection->last = &g->reflection->symbols;
		r = routes(s, g->reflection);
	}
	/* FileDescriptorSet: file = 1. What another set brought already is passed over. */
	while (r == 0 && (r = weir__pb_next(&in, &f)) > 0)
		r = f.number == 1 && find_file(g->reflection, string_of(f.bytes, 1)) < 0 ?
		            add_file(g->reflection, f.bytes) :
		            0;
	return r;
}

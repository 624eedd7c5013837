/* SPDX-License-Identifier: MIT */
/* Built without libsodium: nobody can sign in with a key pair. */
#include "nats/nkey.h"

bool weir__nkey_built(void)
{
	return false;
}

bool weir__nkey_valid(const char *key)
{
	(void)key;
	return false;
}

bool weir__nkey_verify(const char *key, const char *nonce, const char *sig)
{
	(void)key;
	(void)nonce;
	(void)sig;
	return false;
}

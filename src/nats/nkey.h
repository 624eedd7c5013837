/* SPDX-License-Identifier: MIT */
/* Signing in with a key pair: Ed25519, public keys as "U…" in base32 with a CRC. */
#ifndef WEIR_NATS_NKEY_H
#define WEIR_NATS_NKEY_H

#include <stdbool.h>

/* Built with libsodium? Without it nobody can sign in like this. */
bool weir__nkey_built(void);
/* Is this the public key of a user, well formed? */
bool weir__nkey_valid(const char *key);
/* Is sig (base64url, padded or not) the key's signature over the nonce? */
bool weir__nkey_verify(const char *key, const char *nonce, const char *sig);

#endif

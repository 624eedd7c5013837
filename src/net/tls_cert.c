/* SPDX-License-Identifier: MIT */
/*
 * A certificate that vouches for itself, for trying things out: made once, kept in files, so that a
 * client can be told to trust it (--ca) and goes on trusting it after a restart.
 *
 * Each file is written beside its place and renamed, the key first. Whoever is interrupted between
 * the two has a key that is not the certificate's; the check finds that and both are made again.
 */
#include <weir/tls.h>

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

enum { DAY = 24 * 3600, VALID = 365 * DAY, RENEW = 30 * DAY };

static const char names[] = "DNS:localhost,IP:127.0.0.1,IP:::1";

/* ---- What is there ---- */

static FILE *open_file(const char *path)
{
	return fopen(path, "re"); /* offloaded, or no task yet */
}

static bool still_good(const char *cert_file, const char *key_file)
{
	FILE *f = open_file(cert_file), *g = open_file(key_file);
	X509 *cert = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
	EVP_PKEY *key = g ? PEM_read_PrivateKey(g, NULL, NULL, (char[]){ "" }) : NULL;
	time_t soon = (time_t)(weir_wall() / WEIR_SEC(1)) + RENEW;
	bool good = cert && key && X509_check_private_key(cert, key) == 1 &&
	            X509_cmp_time(X509_get0_notAfter(cert), &soon) > 0;

	X509_free(cert);
	EVP_PKEY_free(key);
	if (f)
		fclose(f);
	if (g)
		fclose(g);
	ERR_clear_error();
	return good;
}

/* ---- Making ---- */

static bool add_extension(X509 *cert, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;
	bool ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = e && X509_add_ext(cert, e, -1) == 1;
	X509_EXTENSION_free(e);
	return ok;
}

static bool fill(X509 *cert, EVP_PKEY *key)
{
	X509_NAME *name = X509_get_subject_name(cert);
	unsigned char serial[16];
	BIGNUM *number;
	bool ok;

	if (RAND_bytes(serial, sizeof serial) != 1)
		return false;
	serial[0] &= 0x7f;
	number = BN_bin2bn(serial, sizeof serial, NULL);
	ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
	BN_free(number);
	/* An hour back, for a client whose clock is behind. */
	return ok && X509_set_version(cert, X509_VERSION_3) == 1 &&
	       X509_gmtime_adj(X509_getm_notBefore(cert), -3600) &&
	       X509_gmtime_adj(X509_getm_notAfter(cert), VALID) &&
	       X509_set_pubkey(cert, key) == 1 &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
	                                  (const unsigned char *)"localhost", -1, -1, 0) == 1 &&
	       X509_set_issuer_name(cert, name) == 1 &&
	       add_extension(cert, NID_basic_constraints, "critical,CA:TRUE") &&
	       add_extension(cert, NID_subject_key_identifier, "hash") &&
	       add_extension(cert, NID_subject_alt_name, names) &&
	       X509_sign(cert, key, EVP_sha256()) > 0;
}

/* Writes one of the two: 0 or -Exxx. */
static int write_file(const char *path, mode_t mode, X509 *cert, EVP_PKEY *key)
{
	char *beside = NULL;
	int fd, r = 0;
	FILE *f;

	if (asprintf(&beside, "%s.new", path) < 0)
		return -ENOMEM;
	unlink(beside);
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	f = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (!f) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		goto out;
	}
	if ((cert ? PEM_write_X509(f, cert) :
	            PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL)) != 1)
		r = -EIO;
	if (fclose(f) != 0 && r == 0)
		r = -errno;
	if (r == 0 && rename(beside, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(beside);
out:
	free(beside);
	return r;
}

int weir_tls_self_signed(const char *cert_file, const char *key_file)
{
	EVP_PKEY *key = NULL;
	X509 *cert = NULL;
	int r = -ENOMEM;

	if (still_good(cert_file, key_file))
		return 0;
	key = EVP_EC_gen("P-256");
	cert = X509_new();
	if (key && cert && fill(cert, key)) {
		r = write_file(key_file, 0600, NULL, key);
		if (r == 0)
			r = write_file(cert_file, 0644, cert, NULL);
	}
	X509_free(cert);
	EVP_PKEY_free(key);
	ERR_clear_error();
	if (r < 0)
		weir__log(WEIR__ERROR, "tls", "%s: cannot make a certificate: %s", cert_file,
		          strerror(-r));
	return r;
}

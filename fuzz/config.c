/* SPDX-License-Identifier: MIT */
/* Whatever stands in a weir.yaml, reading it ends, and says what is wrong or takes all of it; what
 * is in force can be written. */
#include "fuzz.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "settings.h"

const struct command commands[] = {
	{ "serve", "", "Serve", NULL, 0, 0, false, NULL },
	{ NULL, NULL, NULL, NULL, 0, 0, false, NULL },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct weir__buf text = WEIR__BUF_INIT;
	struct problems p = { .text = WEIR__BUF_INIT };
	struct options o;
	int fd = memfd_create("weir.yaml", MFD_CLOEXEC), r;
	char path[64];
	char *argv[] = { (char *)"weir", (char *)"serve", (char *)"--config", path, NULL };
	char *env[] = { NULL };

	HOLDS(fd >= 0);
	HOLDS(pwrite(fd, data, n, 0) == (ssize_t)n);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	r = options_parse(&o, 4, argv, env, &p);
	HOLDS((r < 0) == (p.count > 0));
	HOLDS(p.count == 0 || (p.text.len && p.text.data[p.text.len - 1] == '\n'));
	for (size_t i = 0; r == 0 && i < settings_n; i++)
		if (settings[i].also & SET_KEY)
			setting_format(&settings[i], &o, &text);
	HOLDS(!text.failed);
	weir__buf_free(&text);
	weir__buf_free(&p.text);
	options_free(&o);
	close(fd);
	return 0;
}

/* SPDX-License-Identifier: MIT */
/* Gives a target every file of its corpus, for compilers without libFuzzer: fuzz-corpus-NAME
 * DIRECTORY. */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

static void give(const char *dir, const char *name)
{
	char path[4096];
	uint8_t *data;
	struct stat st;
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "rb");
	HOLDS(f && fstat(fileno(f), &st) == 0);
	data = malloc(st.st_size ? (size_t)st.st_size : 1);
	HOLDS(data && fread(data, 1, (size_t)st.st_size, f) == (size_t)st.st_size);
	fclose(f);
	printf("%s\n", name);
	fflush(stdout); /* If it ends here, that is the one. */
	LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
	free(data);
}

int main(int argc, char **argv)
{
	int passed = 0;
	struct dirent *e;
	DIR *dir;

	HOLDS(argc == 2);
	dir = opendir(argv[1]);
	HOLDS(dir);
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		give(argv[1], e->d_name);
		passed++;
	}
	closedir(dir);
	HOLDS(passed > 0);
	printf("%d passed, 0 failed\n", passed);
	return 0;
}

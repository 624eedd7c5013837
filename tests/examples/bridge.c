/* SPDX-License-Identifier: MIT */
/* examples/bridge.c, many times over: under ThreadSanitizer it shows that the library's thread and
 * the tasks do not race. */
int example_main(void);
#define main example_main
#include "../../examples/bridge.c"
#undef main

#include "test.h"

TEST(what_a_librarys_thread_calls_back_arrives_in_tasks)
{
	CHECK(freopen("/dev/null", "w", stdout) != NULL);
	for (int i = 0; i < 50; i++)
		CHECK_EQ(weir_run(&(weir_options){ .workers = 2 }, app, NULL), 0);
}

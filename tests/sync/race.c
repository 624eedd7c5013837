/* SPDX-License-Identifier: MIT */
#include "sync/race.h"

SIM(every_pair_of_channel_operations_races_well_over_seeds, 10000)
{
	race_table(ctx);
}

TASK(every_pair_of_channel_operations_races_well_on_workers)
{
	for (int n = test_long ? 300 : 30; n > 0; n--)
		race_table(ctx);
}

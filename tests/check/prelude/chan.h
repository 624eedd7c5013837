/* SPDX-License-Identifier: MIT */
void use(int v);

/* SPDX-License-Identifier: MIT
 *
 * The ring form, whole but slow.
 */
#define sl_channel_ring ring_slow
#include "ring_jitter.h"

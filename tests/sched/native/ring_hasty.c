/* SPDX-License-Identifier: MIT
 *
 * The ring form, broken: where a slot is in somebody's hands it does not wait for
 * him but says full, or empty.
 */
#define sl_channel_ring ring_hasty
#define HASTY
#include "ring_jitter.h"

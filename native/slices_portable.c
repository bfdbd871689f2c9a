/* The loops over sites, without special instructions. */

#define FOLLOW_SLICE follow_slice_portable
#include "slices.h"

/* The loops over sites, for AVX-512. */

#include "coder.h"

#if defined(__x86_64__) || defined(_M_X64)
#define FOLLOW_SLICE follow_slice_avx512
#include "slices.h"
#endif

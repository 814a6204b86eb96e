// How many threads a call may use.
#pragma once

namespace instnorm::cpu {

// get_num_threads(), but 1 inside a parallel region of OpenMP and in a process forked from one that
// had used threads (where OpenMP's would hang: its threads do not survive a fork).
int usable_threads();

// To be called before the first parallel region.
void note_threads_used();

// Can a parallel region have so many threads? OpenMP's runtime does not return from one whose
// threads the system does not start, for want of memory or by a limit: it ends the process. Seen by
// starting them, at the first call of a thread for as many.
bool can_start(int threads);

}  // namespace instnorm::cpu

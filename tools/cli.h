// The command line: arguments in, exit status out.
#pragma once

namespace instnorm::cli {

// Exit status: 0 done, 1 the data or files are wrong, 2 wrong usage. Installs handlers for SIGINT,
// SIGTERM, SIGHUP and SIGPIPE, which remove unfinished files and let the signal end the process.
int run(int argc, char** argv);

}  // namespace instnorm::cli

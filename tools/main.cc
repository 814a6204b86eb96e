#include "cli.h"

int main(int argc, char** argv) { return instnorm::cli::run(argc, argv); }

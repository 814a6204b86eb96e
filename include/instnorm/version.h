// The one place that states the version; CMake and pyproject read it from here.
#pragma once

#define INSTNORM_VERSION_MAJOR 0
#define INSTNORM_VERSION_MINOR 1
#define INSTNORM_VERSION_PATCH 0
#define INSTNORM_VERSION "0.1.0"

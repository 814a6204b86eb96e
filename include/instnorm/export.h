// Marks the symbols that the shared library exports; everything else is hidden.
#pragma once

#define INSTNORM_API __attribute__((visibility("default")))

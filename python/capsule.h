// A C++ object that Python owns.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>

namespace instnorm::python {

// A capsule of that name, or of none, that ends the object with itself.
template <class T>
nanobind::capsule capsule_of(std::unique_ptr<T> object, const char* name = nullptr) {
  const auto destroy = [](void* p) noexcept { const std::unique_ptr<T> owned(static_cast<T*>(p)); };
  nanobind::capsule capsule(object.get(), name, destroy);
  (void)object.release();
  return capsule;
}

}  // namespace instnorm::python

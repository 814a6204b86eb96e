// The structures of DLPack 1.x that arrays are exchanged through, and the table of C functions by
// which a framework exchanges them without Python calls.
// Definition: https://dmlc.github.io/dlpack/latest/c_api.html
#pragma once

#include <cstdint>

namespace instnorm::python::dlpack {

struct Version {
  std::uint32_t major, minor;
};

// Whose memory a host can read: plain, and pinned for CUDA and ROCm.
enum DeviceType : std::int32_t { kCPU = 1, kCUDAHost = 3, kROCMHost = 11 };
struct Device {
  std::int32_t type, id;
};

enum TypeCode : std::uint8_t {
  kInt = 0,
  kUInt = 1,
  kFloat = 2,
  kBfloat = 4,
  kComplex = 5,
  kBool = 6
};
struct DataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; nullptr: dense row-major
  std::uint64_t byte_offset;
};

struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};

inline constexpr std::uint64_t kReadOnly = 1;
struct ManagedVersioned {
  Version version;
  void* context;
  void (*deleter)(ManagedVersioned*);
  std::uint64_t flags;
  Tensor tensor;
};

// type(x).__dlpack_c_exchange_api__, a capsule of the name "dlpack_exchange_api".
struct ExchangeApi {
  Version version;
  void* previous;
  int (*allocate)(Tensor* prototype, ManagedVersioned** out, void* context,
                  void (*set_error)(void* context, const char* kind, const char* message));
  int (*managed_from_object)(void* object, ManagedVersioned** out);
  int (*object_from_managed)(ManagedVersioned* tensor, void** out);
  int (*tensor_from_object)(void* object, Tensor* out);  // owned by the object
  int (*current_stream)(std::int32_t type, std::int32_t id, void** out);
};

}  // namespace instnorm::python::dlpack

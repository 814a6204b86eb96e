// The ONNX project's node test vectors of InstanceNormalization, test_instancenorm_example and
// test_instancenorm_epsilon, from version 1.12 of https://github.com/onnx/onnx
// (onnx/backend/test/data/node), with the spatial axes flattened to L. float32, as hexadecimal.
//
// SPDX-License-Identifier: MIT
// Copyright (c) ONNX Project Contributors
//
// Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
// associated documentation files (the "Software"), to deal in the Software without restriction,
// including without limitation the rights to use, copy, modify, merge, publish, distribute,
// sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
// furnished to do so, subject to the following conditions:
//
// The above copyright notice and this permission notice shall be included in all copies or
// substantial portions of the Software.
//
// THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
// NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
// NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
// DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
// OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
//
// Made from the .pb files of the vectors by reading their TensorProto messages and printing each
// float with float.hex().
#pragma once

#include <cstdint>
#include <vector>

namespace instnorm::test {

struct OnnxVector {
  const char* name;
  std::int64_t N, C, L;
  double epsilon;
  std::vector<float> x, scale, bias, y;
};

inline const std::vector<OnnxVector>& onnx_vectors() {
  static const std::vector<OnnxVector> kVectors = {
      {"instancenorm_example",
       1,
       2,
       3,
       0x1.4f8b580000000p-17,  // 1e-05
       {-0x1.000000p+0f, 0x0.0p+0f, 0x1.000000p+0f, 0x1.000000p+1f, 0x1.800000p+1f, 0x1.000000p+2f},
       {0x1.000000p+0f, 0x1.800000p+0f},
       {0x0.0p+0f, 0x1.000000p+0f},
       {-0x1.398846p+0f, 0x0.0p+0f, 0x1.398846p+0f, -0x1.ac98d4p-1f, 0x1.000000p+0f,
        0x1.6b2634p+1f}},
      {"instancenorm_epsilon",
       2,
       3,
       20,
       0x1.47ae140000000p-7,  // 0.01
       {0x1.c398f0p+0f,  0x1.99c2d0p-2f,  0x1.f51d26p-1f,  0x1.1ed596p+1f,  0x1.de1848p+0f,
        -0x1.f45dc4p-1f, 0x1.e671fep-1f,  -0x1.35fac4p-3f, -0x1.a6c8d0p-4f, 0x1.a473f0p-2f,
        0x1.270050p-3f,  0x1.744b44p+0f,  0x1.85a6bcp-1f,  0x1.f26180p-4f,  0x1.c68416p-2f,
        0x1.55aebap-2f,  0x1.7e7bf8p+0f,  -0x1.a42a04p-3f, 0x1.4094d2p-2f,  -0x1.b54c0ap-1f,
        -0x1.46c85ep+1f, 0x1.4ea718p-1f,  0x1.ba9762p-1f,  -0x1.7bfd0ep-1f, 0x1.228752p+1f,
        -0x1.745150p+0f, 0x1.76da90p-5f,  -0x1.7f5a40p-3f, 0x1.886438p+0f,  0x1.7827e6p+0f,
        0x1.3d5514p-3f,  0x1.833d0ap-2f,  -0x1.c68bdap-1f, -0x1.fb157ap+0f, -0x1.644316p-2f,
        0x1.4033e4p-3f,  0x1.3af454p+0f,  0x1.33cf2ap+0f,  -0x1.8c9f66p-2f, -0x1.358edap-2f,
        -0x1.0c6df8p+0f, -0x1.6b864cp+0f, -0x1.b4ce20p+0f, 0x1.f36604p+0f,  -0x1.04f122p-1f,
        -0x1.c0968cp-2f, -0x1.40b732p+0f, 0x1.8e1338p-1f,  -0x1.9d2868p+0f, -0x1.b3b12ep-3f,
        -0x1.ca7a98p-1f, 0x1.8c302cp-2f,  -0x1.058840p-1f, -0x1.2e3deap+0f, -0x1.cdbcd6p-6f,
        0x1.b69ca2p-2f,  0x1.10745cp-4f,  0x1.35bb32p-2f,  -0x1.44c5dep-1f, -0x1.73726cp-2f,
        -0x1.584cbcp-1f, -0x1.702eb4p-2f, -0x1.a054b6p-1f, -0x1.b9eda8p+0f, 0x1.6b5e66p-3f,
        -0x1.9b6c76p-2f, -0x1.a154aep+0f, 0x1.d9e398p-2f,  -0x1.d0896ap-1f, 0x1.a98964p-5f,
        0x1.754b5cp-1f,  0x1.082832p-3f,  0x1.23afc4p+0f,  -0x1.3c1d8cp+0f, 0x1.9bff72p-2f,
        -0x1.5e9f6ep-1f, -0x1.bdd920p-1f, -0x1.285efcp-1f, -0x1.3f07a0p-2f, 0x1.cc1b42p-5f,
        -0x1.2a4742p+0f, 0x1.cd3922p-1f,  0x1.dcd69ep-2f,  -0x1.894744p+0f, 0x1.7cfe18p+0f,
        0x1.e558fep+0f,  0x1.2dc480p+0f,  -0x1.707c6ep-3f, -0x1.121cd8p+0f, 0x1.0df08cp+0f,
        -0x1.9cda6ap-2f, 0x1.38f228p+0f,  0x1.aa8c12p-3f,  0x1.f40a08p-1f,  0x1.6ceb50p-2f,
        0x1.69c3f6p-1f,  0x1.58108ep-7f,  0x1.c92ed0p+0f,  0x1.03ea7cp-3f,  0x1.9ba31ap-2f,
        0x1.e2162ap+0f,  -0x1.5906bcp+0f, -0x1.453e82p+0f, 0x1.f054c4p-1f,  -0x1.2c51d0p+0f,
        0x1.f19128p+0f,  -0x1.a78bbcp-2f, -0x1.7eb266p-1f, 0x1.ec45eep+0f,  0x1.7b0304p+0f,
        0x1.de1858p+0f,  0x1.cfe516p-1f,  -0x1.b8f292p-1f, 0x1.e8fa04p+0f,  -0x1.126f7ap-2f,
        0x1.9adb90p-1f,  0x1.e4fe36p-1f,  -0x1.3d75eep-3f, 0x1.3a689cp-1f,  0x1.d82b7ap-1f},
       {0x1.8175b2p-2f, -0x1.197254p+0f, 0x1.31655ap-2f},
       {0x1.538e06p+0f, -0x1.639e66p-1f, -0x1.327398p-3f},
       {0x1.da0b58p+0f,  0x1.4082aep+0f,  0x1.81a430p+0f,  0x1.07dc74p+1f,  0x1.e5b228p+0f,
        0x1.4ae7a6p-1f,  0x1.7e6a92p+0f,  0x1.026d2ap+0f,  0x1.07d868p+0f,  0x1.41af94p+0f,
        0x1.23ae02p+0f,  0x1.b72c26p+0f,  0x1.692284p+0f,  0x1.212964p+0f,  0x1.456e32p+0f,
        0x1.3906c8p+0f,  0x1.bba744p+0f,  0x1.f8bd74p-1f,  0x1.36b4f0p+0f,  0x1.66a35cp-1f,
        0x1.b622dcp+0f,  -0x1.3ef89cp+0f, -0x1.70bf36p+0f, 0x1.52b9e0p-5f,  -0x1.5e46fap+1f,
        0x1.657bcap-1f,  -0x1.5ee682p-1f, -0x1.e1cd5cp-2f, -0x1.074630p+1f, -0x1.ff9304p+0f,
        -0x1.927616p-1f, -0x1.fbde02p-1f, 0x1.67bd60p-3f,  0x1.2f0958p+0f,  -0x1.4a0146p-2f,
        -0x1.931f84p-1f, -0x1.c720d4p+0f, -0x1.c089ccp+0f, -0x1.24c7cap-2f, -0x1.75147ep-2f,
        -0x1.7b23d4p-2f, -0x1.fb8f98p-2f, -0x1.2f42e2p-1f, 0x1.48e2d4p-1f,  -0x1.81ab04p-3f,
        -0x1.502d4ep-3f, -0x1.c1bfe2p-2f, 0x1.f84ce4p-3f,  -0x1.1f4b44p-1f, -0x1.68bfaep-4f,
        -0x1.46373ap-2f, 0x1.d47900p-4f,  -0x1.827718p-3f, -0x1.a8cd3ep-2f, -0x1.a61fb8p-6f,
        0x1.06e1c0p-3f,  0x1.96ccc0p-8f,  0x1.5fb794p-4f,  -0x1.d7de56p-3f, -0x1.1c16e4p-3f,
        0x1.29fd94p+0f,  0x1.5298c8p+0f,  0x1.17bbccp+0f,  0x1.427858p-1f,  0x1.9847f6p+0f,
        0x1.4d1deap+0f,  0x1.5b6870p-1f,  0x1.bd4fe2p+0f,  0x1.0b83f0p+0f,  0x1.87ff52p+0f,
        0x1.dfdf00p+0f,  0x1.91fe9cp+0f,  0x1.0a8f08p+1f,  0x1.c20610p-1f,  0x1.b577f6p+0f,
        0x1.28634ep+0f,  0x1.104090p+0f,  0x1.362374p+0f,  0x1.58d36ep+0f,  0x1.888b84p+0f,
        0x1.2b0544p+0f,  -0x1.41f930p+0f, -0x1.7e57a6p-1f, 0x1.9a9080p+0f,  -0x1.f28ae8p+0f,
        -0x1.36890ap+1f, -0x1.958558p+0f, 0x1.70ad80p-7f,  0x1.0ea584p+0f,  -0x1.702676p+0f,
        0x1.17f15cp-2f,  -0x1.a2a55ap+0f, -0x1.c738a6p-2f, -0x1.58c2e0p+0f, -0x1.3ca33ep-1f,
        -0x1.0795a0p+0f, -0x1.b2dce4p-3f, -0x1.260024p+1f, -0x1.656588p-2f, -0x1.581084p-1f,
        0x1.acfbccp-3f,  -0x1.412fe8p-1f, -0x1.36f0b4p-1f, -0x1.bd80c0p-6f, -0x1.2a0798p-1f,
        0x1.cd0ee0p-3f,  -0x1.8aa1ccp-2f, -0x1.e32b16p-2f, 0x1.c216f0p-3f,  0x1.aed628p-4f,
        0x1.a4b6a4p-3f,  -0x1.6529e8p-5f, -0x1.00abb0p-1f, 0x1.bb4264p-3f,  -0x1.640372p-2f,
        -0x1.2078d4p-4f, -0x1.0dbc3cp-5f, -0x1.460bf0p-2f, -0x1.e84f20p-4f, -0x1.42df88p-5f}},
  };
  return kVectors;
}

}  // namespace instnorm::test

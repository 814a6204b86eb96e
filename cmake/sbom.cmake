# What is compiled in, as a CycloneDX document with the versions that this build found. It is installed with the
# library and, by PEP 770, in the wheel's .dist-info/sboms. No time and no serial number: the same build has the
# same bytes.
set(components "")
set(references "")

function(sbom_component name version licence url)
  string(TOLOWER ${name} lower)
  set(reference "pkg:github/${url}@${version}")
  string(JOIN "" component "    {\n"
    "      \"type\": \"library\",\n      \"bom-ref\": \"${reference}\",\n      \"name\": \"${lower}\",\n"
    "      \"version\": \"${version}\",\n      \"purl\": \"${reference}\",\n"
    "      \"licenses\": [{\"license\": {\"id\": \"${licence}\"}}]\n    }")
  list(APPEND components "${component}")
  list(APPEND references "\"${reference}\"")
  set(components "${components}" PARENT_SCOPE)
  set(references "${references}" PARENT_SCOPE)
endfunction()

# The packages were found in the folders that use them, and their versions are known there alone.
find_package(hwy 1.0.3 REQUIRED CONFIG)
find_package(nlohmann_json 3.11 REQUIRED CONFIG)
sbom_component(highway ${hwy_VERSION} Apache-2.0 google/highway)
sbom_component(nlohmann-json ${nlohmann_json_VERSION} MIT nlohmann/json)
if(INSTNORM_BUILD_TOOLS)
  find_package(CLI11 2.1 REQUIRED CONFIG)
  sbom_component(cli11 ${CLI11_VERSION} BSD-3-Clause CLIUtils/CLI11)
endif()

macro(sbom_write file)
  string(REPLACE ";" ",\n" sbom_components "${components}")
  string(REPLACE ";" ", " sbom_references "${references}")
  configure_file(${PROJECT_SOURCE_DIR}/cmake/sbom.cdx.json.in ${file} @ONLY)
endmacro()

sbom_write(${PROJECT_BINARY_DIR}/instnorm.cdx.json)
install(FILES ${PROJECT_BINARY_DIR}/instnorm.cdx.json DESTINATION ${CMAKE_INSTALL_DATADIR}/instnorm)
if(INSTNORM_BUILD_PYTHON)
  sbom_component(nanobind ${INSTNORM_NANOBIND_VERSION} BSD-3-Clause wjakob/nanobind)
  sbom_write(${PROJECT_BINARY_DIR}/instnorm-python.cdx.json)
  if(SKBUILD_METADATA_DIR)
    install(FILES ${PROJECT_BINARY_DIR}/instnorm-python.cdx.json
      DESTINATION ${SKBUILD_METADATA_DIR}/sboms RENAME instnorm.cdx.json COMPONENT python)
  endif()
endif()

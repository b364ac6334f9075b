# The library, its headers, the CMake package, the pkg-config file, and each backend that was built. The tree may be
# moved: every path in it is relative.
include(CMakePackageConfigHelpers)
set(rd_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/resnet_deploy)
set(rd_backend_dir ${CMAKE_INSTALL_LIBDIR}/resnet_deploy)

# Every MODULE library below a folder: each backend is one, and those without headers to compile against are none.
function(rd_modules_below folder result)
  get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
  get_property(subfolders DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
  set(modules "")
  foreach(target IN LISTS targets)
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "MODULE_LIBRARY")
      list(APPEND modules ${target})
    endif()
  endforeach()
  foreach(subfolder IN LISTS subfolders)
    rd_modules_below(${subfolder} more)
    list(APPEND modules ${more})
  endforeach()
  set(${result} "${modules}" PARENT_SCOPE)
endfunction()

install(TARGETS resnet_deploy EXPORT resnet_deploy
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/resnet_deploy DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT resnet_deploy NAMESPACE resnet_deploy:: FILE resnet_deployTargets.cmake DESTINATION ${rd_package_dir})

rd_modules_below(${PROJECT_SOURCE_DIR}/backends rd_modules)
list(REMOVE_ITEM rd_modules resnet_deploy_fake) # serves tests only
if(rd_modules)
  install(TARGETS ${rd_modules} LIBRARY DESTINATION ${rd_backend_dir})
endif()

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/resnet_deployConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/resnet_deployConfig.cmake
                              INSTALL_DESTINATION ${rd_package_dir} PATH_VARS rd_backend_dir)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/resnet_deployConfigVersion.cmake
                                 VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/resnet_deployConfig.cmake ${PROJECT_BINARY_DIR}/resnet_deployConfigVersion.cmake
        DESTINATION ${rd_package_dir})

file(RELATIVE_PATH rd_pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${PROJECT_SOURCE_DIR}/cmake/resnet_deploy.pc.in ${PROJECT_BINARY_DIR}/resnet_deploy.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/resnet_deploy.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

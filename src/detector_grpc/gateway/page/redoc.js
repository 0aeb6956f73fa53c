// ReDoc. Both scripts are deferred, so its bundle has run by now.
window.Redoc.init("/openapi.json", { hideLoading: true, nativeScrollbars: true }, document.getElementById("docs"));

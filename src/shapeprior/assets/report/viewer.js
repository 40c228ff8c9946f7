"use strict";
// Meshes and points in one or several panes with one camera: turn, move, zoom. No library.
function createViewer(canvas, stops) {
  const gl = canvas.getContext("webgl", { antialias: true, alpha: false, preserveDrawingBuffer: true });
  if (!gl) return null;
  const vertexSource = `
    attribute vec3 place, normal; attribute float value;
    uniform mat4 view, projection; uniform float dotSize;
    varying vec3 facing, position; varying float share;
    void main() {
      vec4 seen = view * vec4(place, 1.0);
      facing = mat3(view) * normal; position = seen.xyz; share = value;
      gl_Position = projection * seen; gl_PointSize = dotSize / -seen.z;
    }`;
  const pixelSource = `
    precision mediump float;
    uniform vec3 tint; uniform float byValue, alpha, isDot; uniform vec4 stops[4];
    varying vec3 facing, position; varying float share;
    void main() {
      vec3 color = tint;
      if (byValue > 0.5) {
        color = stops[0].rgb;
        for (int i = 0; i < 3; i++) {
          float along = (share - stops[i].a) / (stops[i + 1].a - stops[i].a);
          color = mix(color, stops[i + 1].rgb, clamp(along, 0.0, 1.0));
        }
      }
      if (isDot > 0.5) {
        vec2 off = 2.0 * gl_PointCoord - 1.0;
        if (dot(off, off) > 1.0) discard;
        gl_FragColor = vec4(color * (1.05 - 0.35 * dot(off, off)), 1.0);
        return;
      }
      vec3 eye = normalize(-position), n = normalize(facing), lamp = normalize(vec3(-0.4, 0.6, 0.8));
      if (dot(n, eye) < 0.0) n = -n;
      float key = max(dot(n, lamp), 0.0), sky = 0.5 + 0.5 * n.y;
      float gloss = pow(max(dot(n, normalize(eye + lamp)), 0.0), 40.0);
      // Colours that stand for numbers are shaded less, so that they can be read.
      float shaded = 0.46 + 0.2 * sky + 0.5 * key;
      gl_FragColor = vec4(color * mix(shaded, 0.68 + 0.3 * shaded, byValue) + 0.08 * gloss * (1.0 - byValue), alpha);
    }`;
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertexSource], [gl.FRAGMENT_SHADER, pixelSource]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  gl.useProgram(program);
  const uniform = (name) => gl.getUniformLocation(program, name);
  const names = ["view", "projection", "dotSize", "tint", "byValue", "alpha", "isDot"];
  const at = Object.fromEntries(names.map((name) => [name, uniform(name)]));
  gl.uniform4fv(uniform("stops"), stops.flatMap(([place, color]) => [...color, place]));
  const slots = { place: gl.getAttribLocation(program, "place"), normal: gl.getAttribLocation(program, "normal"), value: gl.getAttribLocation(program, "value") };
  const home = { azimuth: 0.61, elevation: 0.44, distance: 4.2, target: [0, 0, 0] };
  let camera = structuredClone(home), panes = [], pending = false;

  function upload(layer) {
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, layer.data, gl.STATIC_DRAW);
    return { ...layer, buffer, count: layer.data.length / 7 };
  }

  function show(newPanes) {
    for (const layer of panes.flat()) gl.deleteBuffer(layer.buffer);
    panes = newPanes.map((layers) => layers.map(upload));
    canvas.dataset.panes = panes.length;
    canvas.dataset.corners = panes.flat().reduce((sum, layer) => sum + layer.count, 0);
    request();
  }

  function viewMatrix() {
    const { azimuth, elevation, distance, target } = camera;
    const [sa, ca, se, ce] = [Math.sin(azimuth), Math.cos(azimuth), Math.sin(elevation), Math.cos(elevation)];
    const right = [ca, 0, -sa], up = [-se * sa, ce, -se * ca], back = [ce * sa, se, ce * ca];
    const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    return { right, up, matrix: [right[0], up[0], back[0], 0, right[1], up[1], back[1], 0, right[2], up[2], back[2], 0, -dot(right, target), -dot(up, target), -dot(back, target) - distance, 1] };
  }

  function draw() {
    pending = false;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    gl.disable(gl.SCISSOR_TEST);
    gl.clearColor(0.957, 0.961, 0.973, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    const across = width / Math.max(panes.length, 1), aspect = across / height, { matrix } = viewMatrix();
    const focal = 3.6 * Math.min(1, aspect), near = 0.02, far = 60;
    const projection = [focal / aspect, 0, 0, 0, 0, focal, 0, 0, 0, 0, (far + near) / (near - far), -1, 0, 0, (2 * far * near) / (near - far), 0];
    gl.uniformMatrix4fv(at.view, false, matrix);
    gl.uniformMatrix4fv(at.projection, false, projection);
    gl.uniform1f(at.dotSize, 0.022 * focal * height * 0.5);
    panes.forEach((layers, index) => {
      gl.viewport(Math.round(index * across), 0, Math.round(across), height);
      for (const layer of [...layers].sort((a, b) => b.alpha - a.alpha)) drawLayer(layer);
    });
  }

  function drawLayer(layer) {
    gl.bindBuffer(gl.ARRAY_BUFFER, layer.buffer);
    for (const [name, size, start] of [["place", 3, 0], ["normal", 3, 12], ["value", 1, 24]]) {
      if (slots[name] < 0) continue;
      gl.enableVertexAttribArray(slots[name]);
      gl.vertexAttribPointer(slots[name], size, gl.FLOAT, false, 28, start);
    }
    gl.uniform3fv(at.tint, layer.tint);
    gl.uniform1f(at.byValue, layer.byValue ? 1 : 0);
    gl.uniform1f(at.alpha, layer.alpha);
    gl.uniform1f(at.isDot, layer.dots ? 1 : 0);
    if (layer.alpha < 1) { gl.enable(gl.BLEND); gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA); gl.depthMask(false); }
    gl.drawArrays(layer.dots ? gl.POINTS : gl.TRIANGLES, 0, layer.count);
    gl.disable(gl.BLEND);
    gl.depthMask(true);
  }

  function request() { if (!pending) { pending = true; requestAnimationFrame(draw); } }
  function turn(x, y) { camera.azimuth -= x; camera.elevation = Math.max(-1.55, Math.min(1.55, camera.elevation + y)); request(); }
  function zoom(factor) { camera.distance = Math.max(1.15, Math.min(25, camera.distance * factor)); request(); }
  function move(x, y) {
    const { right, up } = viewMatrix(), step = camera.distance * 0.7;
    camera.target = camera.target.map((value, axis) => value - (x * right[axis] - y * up[axis]) * step);
    request();
  }
  function reset() { camera = structuredClone(home); request(); }

  const fingers = new Map();
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); fingers.set(event.pointerId, event); });
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const x = (event.clientX - before.clientX) / canvas.clientHeight, y = (event.clientY - before.clientY) / canvas.clientHeight;
    if (fingers.size === 2) {
      const other = [...fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
      const apart = (finger) => Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY);
      zoom(apart(before) / Math.max(apart(event), 1));
      move(x / 2, y / 2);
    } else if (event.shiftKey || event.buttons & 6) move(x, y);
    else turn(4 * x, 4 * y);
    fingers.set(event.pointerId, event);
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(Math.max(-120, Math.min(120, event.deltaY)) * 0.0016)); }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (arrows) (event.shiftKey ? move : turn)(0.08 * arrows[0], 0.08 * arrows[1]);
    else if (event.key === "+" || event.key === "=") zoom(0.9);
    else if (event.key === "-") zoom(1.1);
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
  new ResizeObserver(request).observe(canvas);
  return { show, reset };
}

function bytesOf(text) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

function unpackPlaces(packed) {
  const view = new DataView(bytesOf(packed.vertices).buffer), places = new Float32Array(view.byteLength / 2);
  for (let i = 0; i < places.length; i++) places[i] = packed.low[i % 3] + (packed.size * view.getUint16(2 * i, true)) / 65535;
  return places;
}

function unpackFaces(packed) {
  const view = new DataView(bytesOf(packed.faces).buffer), size = packed.wide ? 4 : 2, faces = new Uint32Array(view.byteLength / size);
  for (let i = 0; i < faces.length; i++) faces[i] = packed.wide ? view.getUint32(4 * i, true) : view.getUint16(2 * i, true);
  return faces;
}

// Place, normal and value of each corner; normals are smooth but for edges sharper than 35 degrees.
function meshCorners(packed, distances) {
  const places = unpackPlaces(packed), faces = unpackFaces(packed), values = distances ? bytesOf(distances) : null;
  const count = faces.length / 3, normals = new Float32Array(3 * count), around = Array.from({ length: places.length / 3 }, () => []);
  for (let face = 0; face < count; face++) {
    const [a, b, c] = [0, 1, 2].map((corner) => 3 * faces[3 * face + corner]);
    const u = [0, 1, 2].map((axis) => places[b + axis] - places[a + axis]), v = [0, 1, 2].map((axis) => places[c + axis] - places[a + axis]);
    normals[3 * face] = u[1] * v[2] - u[2] * v[1];
    normals[3 * face + 1] = u[2] * v[0] - u[0] * v[2];
    normals[3 * face + 2] = u[0] * v[1] - u[1] * v[0];
    for (let corner = 0; corner < 3; corner++) around[faces[3 * face + corner]].push(face);
  }
  const length = (face) => Math.hypot(normals[3 * face], normals[3 * face + 1], normals[3 * face + 2]) || 1e-12;
  const data = new Float32Array(7 * faces.length);
  for (let corner = 0; corner < faces.length; corner++) {
    const face = Math.floor(corner / 3), vertex = faces[corner], sum = [0, 0, 0];
    for (const other of around[vertex]) {
      let cosine = 0;
      for (let axis = 0; axis < 3; axis++) cosine += normals[3 * face + axis] * normals[3 * other + axis];
      if (cosine < 0.82 * length(face) * length(other)) continue;
      for (let axis = 0; axis < 3; axis++) sum[axis] += normals[3 * other + axis];
    }
    const size = Math.hypot(...sum) || 1;
    for (let axis = 0; axis < 3; axis++) {
      data[7 * corner + axis] = places[3 * vertex + axis];
      data[7 * corner + 3 + axis] = sum[axis] / size;
    }
    data[7 * corner + 6] = values ? values[vertex] / 255 : 0;
  }
  return data;
}

function pointCorners(packed) {
  const places = unpackPlaces(packed), data = new Float32Array((places.length / 3) * 7);
  for (let i = 0; i < places.length; i++) data[7 * Math.floor(i / 3) + (i % 3)] = places[i];
  return data;
}

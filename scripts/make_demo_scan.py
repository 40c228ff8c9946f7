"""Make the scan that ships with the package: a depth image of a generated mug that no bundled prior was trained on.

    python scripts/make_demo_scan.py

The mug is number 3 of seed 1; the bundled priors are trained on seed 0. A pinhole camera sees it from 45 cm away. The
depth is stored as a 16-bit PNG in steps of 0.1 mm, as by a depth camera.
"""

import io
import json

import numpy as np
from PIL import Image

from shapeprior.completion.registry import bundled_folder
from shapeprior.datasets.procedural import synthesize
from shapeprior.geometry.camera import PinholeCamera, look_at
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.transforms import Similarity
from shapeprior.io.files import write_bytes
from shapeprior.io.meshes import save_mesh
from shapeprior.scans.simulation import render_depth, view_direction

SEED, INDEX = 1, 3
AZIMUTH_DEG, ELEVATION_DEG, DISTANCE_M = 55.0, 28.0, 0.45
DEPTH_SCALE = 1e-4


def main() -> None:
    mesh_world = synthesize("mug", seed=SEED, index=INDEX)
    T_unit_world = Similarity.to_unit_sphere(mesh_world.vertices)
    center_world = T_unit_world.inverse().offset
    camera = PinholeCamera(fx=600.0, fy=600.0, cx=159.5, cy=119.5, width=320, height=240)
    eye_world = center_world + DISTANCE_M * view_direction(azimuth_deg=AZIMUTH_DEG, elevation_deg=ELEVATION_DEG)
    T_world_camera = look_at(eye_world, center_world)
    depth = render_depth(mesh_world, camera, T_world_camera)
    folder = bundled_folder() / "demo"
    image = io.BytesIO()
    Image.fromarray(np.round(depth / DEPTH_SCALE).astype(np.uint16)).save(image, format="png")
    write_bytes(folder / "depth.png", image.getvalue())
    intrinsics = {
        "fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy,
        "width": camera.width, "height": camera.height, "depth_scale": DEPTH_SCALE,
    }  # fmt: skip
    T_camera_unit = T_world_camera.inverse() @ T_unit_world.inverse()
    write_bytes(folder / "intrinsics.json", (json.dumps(intrinsics, indent=1) + "\n").encode())
    write_bytes(folder / "pose.json", (json.dumps(T_camera_unit.to_json(), indent=1) + "\n").encode())
    write_bytes(folder / "demo.json", (json.dumps({"prior": "mug"}) + "\n").encode())
    true_unit = TriangleMesh(vertices=T_unit_world.apply(mesh_world.vertices), faces=mesh_world.faces)
    save_mesh(folder / "truth.ply", true_unit)


if __name__ == "__main__":
    main()

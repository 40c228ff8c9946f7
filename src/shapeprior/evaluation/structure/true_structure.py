"""The structure of a true shape: topology, thin walls and smooth places, and how a prediction keeps them."""

from dataclasses import dataclass

from shapeprior.evaluation.structure.roughness import SmoothDiscs
from shapeprior.evaluation.structure.thin_walls import InsideTest, ThinWalls
from shapeprior.evaluation.structure.topology import Topology, topology, true_topology
from shapeprior.geometry.mesh import TriangleMesh
from shapeprior.geometry.proximity import FaceTree
from shapeprior.geometry.raycasting import RayScene
from shapeprior.sdf.signed_distance import SignedDistance


@dataclass(frozen=True, kw_only=True, eq=False)
class TrueStructure:
    """What is measured once for a true shape, and then of every prediction of it."""

    topology: Topology
    walls: ThinWalls | None
    """None if the shape has next to no thin walls."""
    discs: SmoothDiscs | None
    """None if no place of the surface is smooth."""

    @classmethod
    def of(cls, distance: SignedDistance, *, seed: int) -> "TrueStructure":
        """Measure a true shape; `seed` decides where its smooth places are looked at."""
        return cls(
            topology=true_topology(distance),
            walls=ThinWalls.of(distance),
            discs=SmoothDiscs.of(distance, seed=seed),
        )

    def scores(self, predicted: TriangleMesh, tree: FaceTree, inside: InsideTest) -> dict[str, float | None]:
        """Return the scores of a prediction by the names of their metrics, not bounded yet.

        A score is None if the true shape lacks what it measures. If no wall is covered, thickness and border are NaN,
        which no bound lets pass: a wall that is not there has no good border.

        Args:
            predicted: The predicted mesh, in the unit frame of the true shape.
            tree: All faces of the predicted mesh.
            inside: The inside of the predicted shape.
        """
        found = topology(predicted)
        parts_error = abs(found.parts - self.topology.parts)
        genus_error = abs(found.genus - self.topology.genus)
        walls = None if self.walls is None else self.walls.scores(RayScene(predicted), inside)
        return {
            "whole": float(parts_error == genus_error == 0),
            "parts_error": float(parts_error),
            "genus_error": float(genus_error),
            "thin_covered": None if walls is None else walls.covered,
            "thin_thickness": None if walls is None else walls.thickness,
            "torn_border": None if walls is None else walls.torn_border,
            "roughness_deg": None if self.discs is None else self.discs.roughness_deg(predicted, tree),
        }

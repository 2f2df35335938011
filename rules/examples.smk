"""Recordings for config/examples that anybody may download."""

POSE2SIM = "results/examples/pose2sim"


rule pose2sim:
    output:
        # Two of the four were on a video platform, which scaled them to 1080x1920 and added bars.
        scaled=expand(f"{POSE2SIM}/scaled/cam0{{n}}.mp4", n=[1, 2]),
        videos=expand(f"{POSE2SIM}/videos/cam0{{n}}.mp4", n=[3, 4]),
        calibration=f"{POSE2SIM}/calibration/Calib.qca.txt",
        # The room before, with people elsewhere in it
        scenes=expand(f"{POSE2SIM}/empty/cam0{{n}}.png", n=[1, 2, 3, 4]),
        # BSD 3-Clause, of Pose2Sim's authors
        license=f"{POSE2SIM}/LICENSE",
    log:
        "logs/pose2sim/all.log",
    benchmark:
        "results/benchmarks/pose2sim/all.tsv"
    # It needs the network, which a cluster's nodes may not have.
    localrule: True
    conda:
        "../envs/cpu.yaml"
    params:
        package="pose2sim==0.10.49",
        sha256="403e0dc4065898ba6a595e72a8970950310979253d60e24c2e00b16b36bf21e1",
        # In the order of the outputs
        members=[
            *expand("Pose2Sim/Demo_SinglePerson/videos/cam0{n}.mp4", n=[1, 2, 3, 4]),
            "Pose2Sim/Demo_SinglePerson/calibration/Calib.qca.txt",
            *expand(
                "Pose2Sim/Demo_SinglePerson/calibration/extrinsics/cam0{n}_ext.png", n=[1, 2, 3, 4]
            ),
            "pose2sim-0.10.49.dist-info/licenses/LICENSE",
        ],
        code=code_of("pose2sim"),
    message:
        "{rule}: Downloading Pose2Sim's recording of a walking person (51 MB)"
    script:
        "../src/scripts/pose2sim.py"


rule pose2sim_video:
    input:
        f"{POSE2SIM}/scaled/{{camera}}.mp4",
    output:
        f"{POSE2SIM}/videos/{{camera}}.mp4",
    log:
        "logs/pose2sim_video/{camera}.log",
    benchmark:
        "results/benchmarks/pose2sim_video/{camera}.tsv"
    wildcard_constraints:
        camera="cam0[12]",
    conda:
        "../envs/cpu.yaml"
    params:
        size={"width": 1088, "height": 1920},
        code=code_of("pose2sim_video"),
    message:
        "{rule}: Scaling the video of {wildcards.camera} back to the size that it was filmed at"
    script:
        "../src/scripts/pose2sim_video.py"

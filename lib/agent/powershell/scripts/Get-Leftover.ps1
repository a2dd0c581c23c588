<#
.SYNOPSIS
    Whatever a backup could have left on these VMs, beside checkpoints and storage snapshots.
.DESCRIPTION
    Input: { settings, vmIds }. Output: { orphanFiles: [...], runningJobs: [...], mountedImages: [...] }.
    An orphan is an .avhdx in a folder of the VMs' disks that no chain and no VHD Set names.
    A running job of type 51, 70, 190-198 or 200 on a member is how a freeze that goes on can be seen from the host.
    Source: hyperv.md 1.1, 1.6 (AllPaths, FindMountedStorageImageInstance; CriterionType 2 = path), 1.9 (JobType, JobState).
    INFERRED: Msvm_AffectedJobElement ties such a job to its VM.
#>
#requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z0-9+/]+=*$')] [string] $Payload,
    [Parameter(Mandatory = $true)] [ValidatePattern('^[0-9a-f]+$')] [string] $Call
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Protocol.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Wmi.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.State.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.HyperV.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $namespace = $Request.settings.namespace
    $images = Get-GcbService -Namespace $namespace -ClassName Msvm_ImageManagementService
    $used = New-Object -TypeName 'System.Collections.Generic.HashSet[string]' -ArgumentList ([System.StringComparer]::OrdinalIgnoreCase)
    $folders = New-Object -TypeName 'System.Collections.Generic.HashSet[string]' -ArgumentList ([System.StringComparer]::OrdinalIgnoreCase)
    $sets = New-Object -TypeName 'System.Collections.Generic.HashSet[string]' -ArgumentList ([System.StringComparer]::OrdinalIgnoreCase)
    $systems = @(Get-CimInstance -Namespace $namespace -ClassName Msvm_VirtualSystemSettingData)
    $wanted = @($Request.vmIds)
    # Every VM and checkpoint of the host counts as a user of files, not only the members.
    foreach ($setting in $systems) {
        $isMember = $wanted -contains (ConvertTo-GcbGuid -Text ([string]$setting.VirtualSystemIdentifier))
        foreach ($disk in @(Get-GcbDiskAllocation -Setting $setting)) {
            $path = [string]@($disk.HostResource)[0]
            if ($path -eq '') { continue }
            [void]$used.Add($path)
            if ($isMember) { [void]$folders.Add([System.IO.Path]::GetDirectoryName($path)) }
            if (Test-GcbVhdSetPath -Path $path) {
                if (-not $sets.Add($path)) { continue }
                foreach ($file in @(Get-GcbVhdSetChain -ImageService $images -Path $path -Order $Request.settings.vhdSetOrder)) { [void]$used.Add($file) }
                foreach ($entry in @(Get-GcbVhdSetEntry -ImageService $images -Path $path)) {
                    [void]$used.Add($entry.path)
                    foreach ($file in @($entry.parents)) { [void]$used.Add([string]$file) }
                }
            }
            elseif ($isMember -or $path.EndsWith('.avhdx', [System.StringComparison]::OrdinalIgnoreCase)) {
                try { foreach ($file in @(Get-GcbImageChain -ImageService $images -Path $path)) { [void]$used.Add($file) } }
                catch {
                    # Another VM's file may be out of reach; a member's must not be, or its parents would look like orphans.
                    if ($isMember) { throw }
                    [Console]::Error.WriteLine('Chain of ' + $path + ': ' + $_.Exception.Message)
                }
            }
        }
    }
    $orphans = New-Object -TypeName System.Collections.ArrayList
    foreach ($folder in @($folders)) {
        if (-not [System.IO.Directory]::Exists($folder)) { continue }
        foreach ($file in [System.IO.Directory]::GetFiles($folder, '*.avhdx')) {
            if (-not $used.Contains($file)) { [void]$orphans.Add([ordered]@{ path = $file; bytes = (New-Object -TypeName System.IO.FileInfo -ArgumentList $file).Length }) }
        }
    }
    $jobTypes = @(51, 70, 190, 191, 192, 193, 194, 195, 196, 197, 198, 200)
    $jobs = New-Object -TypeName System.Collections.ArrayList
    foreach ($job in @(Get-CimInstance -Namespace $namespace -ClassName Msvm_ConcreteJob)) {
        if (-not ($jobTypes -contains [int]$job.JobType) -or -not (@(2, 3, 4, 5, 6) -contains [int]$job.JobState)) { continue }
        foreach ($system in @(Get-CimAssociatedInstance -InputObject $job -Association Msvm_AffectedJobElement -ResultClassName Msvm_ComputerSystem)) {
            $vmId = ConvertTo-GcbGuid -Text ([string]$system.Name)
            if ($wanted -contains $vmId) { [void]$jobs.Add([ordered]@{ jobId = [string]$job.InstanceID; jobType = [int]$job.JobType; vmId = $vmId }) }
        }
    }
    $mounted = New-Object -TypeName System.Collections.ArrayList
    foreach ($file in @($used)) {
        if ($file -eq '' -or -not $folders.Contains([string][System.IO.Path]::GetDirectoryName($file))) { continue }
        try {
            $result = Invoke-CimMethod -InputObject $images -MethodName FindMountedStorageImageInstance -Arguments @{ SelectionCriterion = $file; CriterionType = [uint16]2 }
            if ([long]$result.ReturnValue -eq 0 -and $null -ne (Get-GcbProperty -InputObject $result -Name 'Image')) { [void]$mounted.Add([ordered]@{ path = $file }) }
        }
        catch { [Console]::Error.WriteLine('FindMountedStorageImageInstance ' + $file + ': ' + $_.Exception.Message) }
    }
    [ordered]@{ orphanFiles = $orphans.ToArray(); runningJobs = $jobs.ToArray(); mountedImages = $mounted.ToArray() }
}
